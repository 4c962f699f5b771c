"""The conference that `hoichan serve --demo` opens, to try the bridge with a few browsers or machines."""

from dataclasses import dataclass

from bridge.base.words import ConferenceKind, Level, Role

ROOM = "demo"
TITLE = "Hội chẩn trực tuyến (phòng thử)"
KIND = ConferenceKind.CONSULTATION


@dataclass(frozen=True, slots=True)
class Guest:
    """One invited site."""

    site: str
    level: Level
    role: Role


GUESTS = (
    Guest("Bệnh viện Trung ương (điểm chủ trì)", Level.CENTRAL, Role.CHAIR),
    Guest("Bệnh viện Trung ương, Khoa Chẩn đoán hình ảnh", Level.CENTRAL, Role.EXPERT),
    Guest("Bệnh viện Đa khoa tỉnh Điện Biên", Level.PROVINCE, Role.PRESENTER),
    Guest("Trung tâm Y tế khu vực Mường Nhé", Level.DISTRICT, Role.PRESENTER),
    Guest("Trung tâm Y tế đặc khu Cô Tô", Level.DISTRICT, Role.PRESENTER),
    Guest("Trạm Y tế xã Sín Thầu", Level.COMMUNE, Role.OBSERVER),
)
