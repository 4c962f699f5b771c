/** The page before the room, in Vietnamese. The object is plain JSON, so that a test can read it without a browser. */
export const vi = {
  "prejoin.eyebrow": "Chuẩn bị vào phiên hội chẩn",
  "prejoin.preview": "Xem trước hình của bạn",
  "prejoin.site": "Điểm cầu",
  "prejoin.role": "Vai trò",
  "prejoin.recording.auto": "Phiên này được ghi hình.",
  "prejoin.recording.on-consent": "Phiên này được ghi hình khi người bệnh đồng ý.",
  "prejoin.name": "Họ và tên người tham gia",
  "prejoin.join": "Vào phòng hội chẩn",
  "prejoin.listen": "Chỉ nghe và xem",
  "prejoin.level": "Mức âm thanh của micrô",
  "prejoin.heard": "Nghe rõ tiếng của bạn",
  "prejoin.speak": "Hãy nói thử để kiểm tra micrô",
  "prejoin.mic.off": "Micrô đang tắt",
  "prejoin.camera.off": "Camera đang tắt",
  "prejoin.camera.none": "Không có hình từ camera",
  "prejoin.camera.opening": "Đang mở camera…",
  "prejoin.observer": "Điểm cầu dự thính: micrô và camera chỉ bật được khi chủ tọa mời phát biểu.",
  "prejoin.switch.mic.on": "Micrô bật",
  "prejoin.switch.mic.off": "Micrô tắt",
  "prejoin.switch.camera.on": "Camera bật",
  "prejoin.switch.camera.off": "Camera tắt"
};
