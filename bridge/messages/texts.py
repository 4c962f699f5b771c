"""The sentences that people read, by stable code, in both languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from bridge.base.schema import Characters

Sentence = Annotated[str, Characters(1, 300)]


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in Vietnamese and English."""

    vi: Sentence
    en: Sentence


ERRORS: Mapping[str, Text] = {
    "invalid-message": Text(
        vi="Yêu cầu không đúng định dạng. Hãy tải lại trang.",
        en="The request does not have the right form. Please reload the page.",
    ),
    "invalid-name": Text(
        vi="Tên phải có ít nhất một chữ cái và không có ký tự ẩn. Hãy nhập lại tên.",
        en="A name has at least one letter and no invisible characters. Please type it again.",
    ),
    "unsupported-version": Text(
        vi="Trang này đã cũ so với máy chủ. Hãy tải lại trang.",
        en="This page is older or newer than the server. Please reload it.",
    ),
    "invalid-token": Text(
        vi="Đường liên kết không hợp lệ. Hãy xin ban tổ chức đường liên kết mới.",
        en="This link is not valid. Please ask the organisers for a new one.",
    ),
    "expired-token": Text(
        vi="Đường liên kết đã hết hạn. Hãy mở lại thư mời hoặc xin đường liên kết mới.",
        en="This link has expired. Please open your invitation again or ask for a new one.",
    ),
    "revoked-link": Text(
        vi="Đường liên kết này đã bị thu hồi. Hãy xin ban tổ chức đường liên kết mới.",
        en="This link was revoked. Please ask the organisers for a new one.",
    ),
    "not-permitted": Text(
        vi="Vai trò của bạn không được phép làm việc này.",
        en="Your role does not allow this.",
    ),
    "unknown-participant": Text(
        vi="Người tham gia này không còn trong phòng.",
        en="This participant is no longer in the room.",
    ),
    "room-full": Text(
        vi="Phòng đã đủ số điểm cầu.",
        en="The room is full.",
    ),
    "no-more-rooms": Text(
        vi="Máy chủ lúc này không mở thêm phòng. Hãy thử lại sau ít phút.",
        en="The server opens no more rooms now. Please try again in a few minutes.",
    ),
    "link-full": Text(
        vi="Đường liên kết này đang dùng trên quá nhiều thiết bị. Hãy đóng bớt hoặc xin đường liên kết khác.",
        en="This link is in use on too many devices. Please close one of them or ask for another link.",
    ),
    "room-locked": Text(
        vi="Phòng đã khóa. Hãy liên hệ chủ tọa hoặc thư ký.",
        en="The room is locked. Please contact the chair or the secretary.",
    ),
    "refused": Text(
        vi="Yêu cầu không được chấp nhận.",
        en="The request was not accepted.",
    ),
    "negotiation-failed": Text(
        vi="Không thiết lập được âm thanh và hình ảnh. Hãy thử lại hoặc dùng trình duyệt khác.",
        en="Sound and picture could not be set up. Please try again or use another browser.",
    ),
    "unknown-recording": Text(
        vi="Không tìm thấy bản ghi này. Có thể bản ghi thuộc phiên hội chẩn khác.",
        en="There is no such recording. It may belong to another conference.",
    ),
    "not-ready": Text(
        vi="Bản ghi đang được xử lý. Hãy thử lại khi đã niêm phong xong.",
        en="This recording is still being made. Please try again when it is sealed.",
    ),
    "withheld": Text(
        vi="Người bệnh không đồng ý hoặc đã rút lại đồng ý: chỉ phòng lưu trữ mở được bản ghi này.",
        en="The patient does not consent, or no longer: only the archive can open this recording.",
    ),
    "archive-unavailable": Text(
        vi="Hiện không đọc được kho lưu trữ. Hãy thử lại sau ít phút hoặc báo kỹ thuật viên CNTT.",
        en="The archive cannot be read now. Please try again in a few minutes or tell the IT staff.",
    ),
    "busy": Text(
        vi="Máy chủ đang bận gửi các bản ghi khác. Hãy thử lại sau ít phút.",
        en="The server is busy sending other recordings. Please try again in a few minutes.",
    ),
    "unsupported-media-type": Text(
        vi="Thiết bị gửi dữ liệu không đúng loại.",
        en="The device sent data of the wrong type.",
    ),
    "precondition-failed": Text(
        vi="Kết nối đã thay đổi trong lúc đó. Hãy thử lại.",
        en="The connection has changed meanwhile. Please try again.",
    ),
    "rate-limited": Text(
        vi="Quá nhiều yêu cầu trong thời gian ngắn. Hãy chờ một chút.",
        en="Too many requests in a short time. Please wait a moment.",
    ),
    "not-joined": Text(
        vi="Bạn chưa vào phòng.",
        en="You have not joined the room yet.",
    ),
    "unknown-case": Text(
        vi="Ca này không còn trong danh sách.",
        en="This case is no longer on the list.",
    ),
    "invalid-case-code": Text(
        vi="Mã ca chỉ gồm 1 đến 40 chữ cái không dấu, chữ số, dấu gạch nối, dấu chấm, dấu gạch dưới.",
        en="A case code has 1 to 40 letters without accents, digits, hyphens, dots and underscores.",
    ),
    "case-code-taken": Text(
        vi="Đã có một ca với mã này. Hãy dùng mã khác.",
        en="There is a case with this code already. Please use another one.",
    ),
    "too-many-cases": Text(
        vi="Phiên này đã đủ số ca.",
        en="This conference has its number of cases.",
    ),
    "wrong-case-state": Text(
        vi="Lúc này không làm được việc đó với ca này. Hãy xem lại danh sách ca.",
        en="This cannot be done with the case now. Please look at the list of cases again.",
    ),
    "no-consent": Text(
        vi="Chưa có sự đồng ý nào để rút lại.",
        en="There is no consent that could be withdrawn.",
    ),
    "case-unconfirmed": Text(
        vi="Hãy xác nhận trước rằng ca đang mở được tiếp tục.",
        en="Please confirm first that the open case goes on.",
    ),
    "not-recording": Text(
        vi="Lúc này không làm được việc đó với phần ghi hình.",
        en="This cannot be done with the recording now.",
    ),
}


def error_text(code: str) -> Text:
    """Return the sentence for a code; `negotiation-failed:<which>` shares that of its family."""
    return ERRORS.get(code.partition(":")[0], ERRORS["refused"])
