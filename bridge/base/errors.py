"""The error tree, each class with its radius: what ends when it is raised.

BridgeError
├── MalformedPacket      the packet        caught in Leg and Transport, seen as a counter
├── RequestError         the request       caught in signalling and api, seen as an error message
│   ├── InvalidMessage       the message does not have the protocol's form
│   ├── NegotiationFailed    the offer cannot be answered
│   └── Refused              the request is well formed, but not allowed or not possible now
├── TransportFailed      the participant   caught in Room, seen as a leave with its reason
├── RecordingFailed      the recording     caught in Recorder; the conference goes on
├── ArchiveFailed        the attempt       caught in the supervisor, which tries again, or in the command
│   └── DeliveryFailed       the PACS does not have the package, or not provably
└── InvalidConfig        the process       caught in __main__ before it listens: one line, exit 2
"""


class BridgeError(Exception):
    """Root of all errors that the bridge raises on purpose."""


class MalformedPacket(BridgeError):
    """Bytes from the network that do not follow their format; only this packet is lost."""


class RequestError(BridgeError):
    """A request that cannot be carried out, with a stable code for machines and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class InvalidMessage(RequestError):
    """A signalling message or API body that does not have the protocol's form."""


class NegotiationFailed(RequestError):
    """An SDP offer that cannot be answered."""


class Refused(RequestError):
    """A well-formed request that is not allowed, or not possible now."""


class TransportFailed(BridgeError):
    """The association with one client ended."""


class RecordingFailed(BridgeError):
    """A recording cannot go on; the conference does."""


class ArchiveFailed(BridgeError):
    """A step of archiving could not be done, with a stable code for machines and a sentence for people.

    `is_lasting` says that another attempt would end the same way, so that somebody has to look.
    """

    def __init__(self, code: str, sentence: str, *, is_lasting: bool = False) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.is_lasting = is_lasting


class DeliveryFailed(ArchiveFailed):
    """A package could not be delivered to the PACS, or what it gave back is not what was sent."""


class InvalidConfig(BridgeError):
    """The settings cannot be used; the process must not start."""
