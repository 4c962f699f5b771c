// A camera and a microphone that clap together every two seconds: a white picture and a burst of one pitch that
// begin at the same moment. Both run on the clock of the sound, which is the one that cannot be moved.
// A page may have a pitch, a colour and a size of its own in `window.clap`.
(() => {
  const EVERY_S = 2;
  const LONG_S = 0.12;
  const look = () => ({ hz: 1000, colour: "#203040", width: 640, height: 360, ...window.clap });
  const FRAMES_PER_S = 30;

  function sound() {
    const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
    const destination = context.createMediaStreamDestination();
    const quiet = context.createGain();
    quiet.gain.value = 0;
    const tone = context.createOscillator();
    tone.frequency.value = look().hz;
    tone.connect(quiet).connect(destination);
    tone.start();
    for (let at = EVERY_S; at < 600; at += EVERY_S) {
      quiet.gain.setValueAtTime(0.8, at);
      quiet.gain.setValueAtTime(0, at + LONG_S);
    }
    return { context, track: destination.stream.getAudioTracks()[0] };
  }

  function picture(context) {
    const canvas = document.createElement("canvas");
    const { colour, width, height } = look();
    canvas.width = width;
    canvas.height = height;
    const paper = canvas.getContext("2d");
    let number = 0;
    const draw = () => {
      const isClap = context.currentTime >= EVERY_S && context.currentTime % EVERY_S < LONG_S;
      paper.fillStyle = isClap ? "#fff" : colour;
      paper.fillRect(0, 0, canvas.width, canvas.height);
      // A canvas that does not change gives no pictures.
      paper.fillStyle = number++ % 2 ? "#fff" : "#000";
      paper.fillRect(0, 0, 4, 4);
    };
    draw();
    setInterval(draw, 1000 / FRAMES_PER_S / 2);
    return { canvas, track: canvas.captureStream(FRAMES_PER_S).getVideoTracks()[0] };
  }

  navigator.mediaDevices.getUserMedia = async ({ audio, video }) => {
    window.clapper ??= (() => {
      const { context, track } = sound();
      const { canvas, track: seen } = picture(context);
      return { context, sound: track, canvas, picture: seen };
    })();
    await window.clapper.context.resume();
    const tracks = [];
    if (audio) tracks.push(window.clapper.sound.clone());
    if (video) tracks.push(window.clapper.picture.clone());
    return new MediaStream(tracks);
  };
})();
