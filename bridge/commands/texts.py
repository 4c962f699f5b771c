"""What the archive's commands say, in both languages; keys are stable, tests hold the languages equal."""

import os
from collections.abc import Mapping
from typing import Final

from bridge.messages.texts import Text

TEXTS: Final[Mapping[str, Text]] = {
    "check.file": Text(vi="Cài đặt: {path}", en="Settings: {path}"),
    "check.defaults": Text(vi="mặc định, không có tệp (--config)", en="defaults, without a file (--config)"),
    "check.environment": Text(vi="Biến môi trường: {names}", en="Environment: {names}"),
    "check.user": Text(vi="Người dùng hệ thống: {user}", en="Tried as user: {user}"),
    "check.address": Text(vi="Địa chỉ trong liên kết: {url}", en="Address in links: {url}"),
    "check.free": Text(
        vi="{setting} {path}: còn trống {free_mb} MB", en="{setting} {path}: {free_mb} MB free"
    ),
    "check.short": Text(
        vi="CHÚ Ý: {setting} {path}: chỉ còn {free_mb} MB, dưới recording.warn_free_mb",
        en="NOTE: {setting} {path}: only {free_mb} MB free, below recording.warn_free_mb",
    ),
    "check.in-use": Text(
        vi="CHÚ Ý: {setting}, {host} cổng {port}: đang được dùng, có thể do chính máy chủ đang chạy",
        en="NOTE: {setting}, {host} port {port}: is in use, maybe by the running bridge",
    ),
    "check.unconfined": Text(
        vi="nhân hệ điều hành không có {name}: các tiến trình giải mã bản ghi không được cách ly đầy đủ",
        en="the kernel has no {name}: what decodes recordings is not fully confined",
    ),
    "check.self-signed": Text(
        vi="CHÚ Ý: chưa đặt http.certificate_file: trình duyệt sẽ cảnh báo chứng chỉ tự ký",
        en="NOTE: http.certificate_file is not set: browsers will warn of a self-signed certificate",
    ),
    "check.empty": Text(vi="{setting} {path}: tệp trống", en="{setting} {path}: is empty"),
    "check.unreadable": Text(
        vi="{setting} {path}: không đọc được: {reason}", en="{setting} {path}: cannot be read: {reason}"
    ),
    "check.unwritable": Text(
        vi="{setting} {path}: không ghi được vào {there}", en="{setting} {path}: {there} cannot be written to"
    ),
    "check.unbound": Text(
        vi="{setting}.host {host}, {setting}.port {port}: không mở được: {reason}",
        en="{setting}.host {host}, {setting}.port {port}: cannot be listened on: {reason}",
    ),
    "check.good": Text(vi="dùng được các cài đặt này", en="the settings can be used"),
    "column.package": Text(vi="Gói", en="Package"),
    "column.title": Text(vi="Phiên", en="Conference"),
    "column.code": Text(vi="Mã ca", en="Case code"),
    "column.started": Text(vi="Bắt đầu", en="Started"),
    "column.duration": Text(vi="Thời lượng", en="Length"),
    "column.state": Text(vi="Trạng thái", en="State"),
    "column.size": Text(vi="Dung lượng", en="Size"),
    "field.room": Text(vi="Phòng", en="Room"),
    "field.sites": Text(vi="Điểm cầu", en="Sites"),
    "field.error": Text(vi="Lỗi gần nhất", en="Last failure"),
    "field.attempts": Text(vi="Số lần lỗi", en="Failures so far"),
    "field.next_attempt": Text(vi="Thử lại lúc", en="Next attempt"),
    "field.seal": Text(vi="Niêm phong", en="Seal"),
    "field.sealed": Text(vi="Niêm phong lúc", en="Sealed"),
    "field.delivered": Text(vi="Gửi PACS lúc", en="Delivered"),
    "field.checked": Text(vi="Kiểm tra lúc", en="Checked"),
    "field.fixity": Text(vi="Toàn vẹn", en="Whole"),
    "field.damaged": Text(vi="Không đọc được", en="Unreadable"),
    "field.retention": Text(vi="Thời hạn lưu", en="Retention"),
    "field.consent": Text(vi="Đồng ý ghi hình", en="Consent"),
    "field.disposition": Text(vi="Quyết định", en="Decision"),
    "consent.unknown": Text(vi="chưa có ý kiến", en="not stated"),
    "consent.granted": Text(vi="đồng ý", en="granted"),
    "consent.refused": Text(vi="không đồng ý", en="refused"),
    "consent.withdrawn": Text(vi="đã rút lại", en="withdrawn"),
    "disposition.open": Text(vi="chờ quyết định", en="people have to decide"),
    "disposition.keep": Text(vi="được giữ như bình thường", en="kept like others"),
    "disposition.restrict": Text(vi="giữ vì lý do pháp lý", en="kept for legal reasons"),
    "disposition.destroy": Text(vi="đang hủy", en="being destroyed"),
    "field.hold": Text(vi="Giữ theo yêu cầu pháp lý", en="Legal hold"),
    "field.deliveries": Text(vi="Các lần gửi PACS", en="Deliveries"),
    "field.audit": Text(vi="Nhật ký truy cập", en="Audit"),
    "damaged": Text(vi="{seconds} giây", en="{seconds} s"),
    "yes": Text(vi="có", en="yes"),
    "no": Text(vi="không", en="no"),
    "for-ever": Text(vi="vĩnh viễn", en="for ever"),
    "until": Text(vi="đến {day}", en="until {day}"),
    "state.ongoing": Text(vi="đang diễn ra, không ghi", en="going on, not recorded"),
    "state.recording": Text(vi="đang ghi", en="recording"),
    "state.queued": Text(vi="đang chờ", en="queued"),
    "state.repairing": Text(vi="đang sửa tệp", en="repairing"),
    "state.composing": Text(vi="đang dựng video", en="composing"),
    "state.sealing": Text(vi="đang niêm phong", en="sealing"),
    "state.sealed": Text(vi="đã niêm phong", en="sealed"),
    "state.delivering": Text(vi="đang gửi PACS", en="delivering"),
    "state.delivered": Text(vi="đã gửi PACS", en="delivered"),
    "state.failed": Text(vi="lỗi", en="failed"),
    "links.none": Text(vi="Không có đường liên kết nào còn hiệu lực.", en="No links are good."),
    "links.which": Text(
        vi="Hãy ghi mã đường liên kết cần thu hồi, hoặc --room cho cả một phòng.",
        en="Name the ids of the links to revoke, or --room for all of a room.",
    ),
    "links.unknown": Text(vi="{id}: không có đường liên kết này", en="{id}: there is no such link"),
    "links.revoked": Text(vi="{id}: đã thu hồi ({site})", en="{id}: revoked ({site})"),
    "links.column.id": Text(vi="Mã", en="Id"),
    "links.column.kind": Text(vi="Loại", en="Kind"),
    "links.column.room": Text(vi="Phòng", en="Room"),
    "links.column.role": Text(vi="Vai trò", en="Role"),
    "links.column.site": Text(vi="Điểm cầu", en="Site"),
    "links.column.name": Text(vi="Tên", en="Name"),
    "links.column.until": Text(vi="Hiệu lực đến", en="Good until"),
    "links.column.state": Text(vi="Trạng thái", en="State"),
    "links.state.good": Text(vi="còn hiệu lực", en="good"),
    "links.state.expired": Text(vi="đã hết hạn", en="expired"),
    "links.state.revoked": Text(vi="đã thu hồi", en="revoked"),
    "role.chair": Text(vi="chủ tọa", en="chair"),
    "role.secretary": Text(vi="thư ký", en="secretary"),
    "role.presenter": Text(vi="người trình bày", en="presenter"),
    "role.expert": Text(vi="chuyên gia", en="expert"),
    "role.observer": Text(vi="dự thính", en="observer"),
    "role.archivist": Text(vi="người lưu trữ", en="archivist"),
    "retention.ordinary": Text(vi="hồ sơ thường 10 năm", en="ordinary record, 10 years"),
    "retention.accident": Text(vi="tai nạn hoặc tâm thần 20 năm", en="accident or psychiatric, 20 years"),
    "retention.death": Text(vi="tử vong 30 năm", en="death, 30 years"),
    "retention.transplant": Text(vi="ghép tạng 30 năm", en="transplant, 30 years"),
    "retention.incident": Text(vi="sự cố y khoa", en="medical incident"),
    "retention.training": Text(vi="đào tạo 5 năm", en="training, 5 years"),
    "action.list": Text(vi="xem danh sách", en="listed"),
    "action.view": Text(vi="mở xem", en="viewed"),
    "action.play": Text(vi="phát video", en="played"),
    "action.export": Text(vi="tải một tệp", en="took a file"),
    "action.download": Text(vi="tải cả gói", en="took the package"),
    "action.seal": Text(vi="niêm phong", en="sealed"),
    "action.deliver": Text(vi="gửi kho y khoa", en="delivered"),
    "action.retry": Text(vi="yêu cầu thử lại", en="asked to try again"),
    "action.check": Text(vi="yêu cầu kiểm tra", en="asked to check"),
    "action.fixity": Text(vi="kiểm tra toàn vẹn", en="checked"),
    "action.retain": Text(vi="đổi thời hạn lưu giữ", en="changed the term"),
    "action.hold": Text(vi="đặt lệnh giữ pháp lý", en="put on legal hold"),
    "action.release": Text(vi="bỏ lệnh giữ pháp lý", en="lifted the legal hold"),
    "action.withdraw": Text(vi="ghi nhận rút lại đồng ý", en="noted that consent was withdrawn"),
    "action.decide": Text(vi="quyết định về bản ghi bị giữ lại", en="decided about what was held back"),
    "action.purge": Text(vi="xóa dữ liệu ghi tạm", en="purged the working tracks"),
    "action.delete": Text(vi="xóa bản ghi", en="deleted"),
    "action.recover": Text(vi="khôi phục danh mục", en="recovered"),
    "who.bridge": Text(vi="máy chủ (tự động)", en="the server, by itself"),
    "who.command line": Text(vi="dòng lệnh của máy chủ", en="the server's command line"),
    "signed": Text(
        vi="hoichan: ký bằng khóa bí mật trong {folder}", en="hoichan: signed with the secret in {folder}"
    ),
    "demo.self-signed": Text(
        vi="Chứng chỉ tự ký: trình duyệt sẽ hỏi một lần có tiếp tục không.",
        en="The certificate is self-signed: the browser will ask once whether to go on.",
    ),
    "demo.open": Text(
        vi="Mở mỗi liên kết trong một cửa sổ trình duyệt riêng. Ctrl-C để dừng máy chủ.",
        en="Open each link in its own browser window. Ctrl-C ends the bridge.",
    ),
    "list.none": Text(vi="Không tìm thấy gói nào.", en="No packages found."),
    "list.more": Text(vi="{shown} trong số {total} gói.", en="{shown} of {total} packages."),
    "verify.whole": Text(vi="{package}: nguyên vẹn", en="{package}: proven"),
    "verify.broken": Text(
        vi="{package}: KHÔNG nguyên vẹn, {count} lỗi", en="{package}: NOT proven, {count} problems"
    ),
    "verify.chain": Text(vi="Chuỗi niêm phong", en="The chain of seals"),
    "verify.none": Text(vi="{path}: không có gói nào ở đây", en="{path}: there is no package here"),
    "verify.progress": Text(vi="kiểm tra", en="verifying"),
    "compose.sealed": Text(vi="{package}: đã niêm phong", en="{package}: sealed"),
    "compose.renamed": Text(
        vi="{session} trùng tên với một phiên khác ở đây, được lưu là {name}",
        en="{session} is the name of another session here; this one is kept as {name}",
    ),
    "compose.nothing": Text(vi="Không có gói nào cần làm.", en="There is nothing to be made."),
    "compose.elsewhere": Text(
        vi="{package}: một tiến trình khác đang làm gói này",
        en="{package}: another process is working on it",
    ),
    "compose.open": Text(
        vi="{session}: phiên chưa kết thúc và máy chủ đang ghi; chỉ làm các ca đã xong",
        en="{session}: still being recorded; only its finished cases are made",
    ),
    "deliver.off": Text(
        vi="dicom.method đang là off: không gửi đi đâu cả",
        en="dicom.method is off: there is nowhere to deliver to",
    ),
    "deliver.done": Text(vi="{package}: đã gửi PACS", en="{package}: delivered"),
    "deliver.nothing": Text(vi="Không có gói nào cần gửi.", en="There is nothing to be delivered."),
    "recover.aside": Text(
        vi="Danh mục bị hỏng đã được cất sang {path}", en="The broken catalogue was put aside: {path}"
    ),
    "recover.ended": Text(
        vi="{session}: phiên bị gián đoạn đã được kết thúc", en="{session}: was interrupted, and is ended now"
    ),
    "recover.serving": Text(
        vi="Máy chủ đang ghi; các phiên chưa kết thúc được để nguyên",
        en="The server is recording; sessions without an end are left to it",
    ),
    "recover.broken": Text(
        vi="Không lưu trữ được phiên {sentence}", en="A session cannot be archived: {sentence}"
    ),
    "recover.done": Text(
        vi="{packages} gói trong danh mục, {waiting} gói còn phải làm, {failed} gói lỗi",
        en="{packages} packages in the catalogue, {waiting} to be made, {failed} failed",
    ),
    "recover.audit": Text(
        vi="Nhật ký truy cập bị sửa từ dòng {seq}", en="The audit was changed from line {seq} on"
    ),
    "hold.done": Text(vi="{package}: được giữ, không được xóa", en="{package}: held, must not be deleted"),
    "release.done": Text(vi="{package}: không còn bị giữ", en="{package}: no longer held"),
    "retain.done": Text(vi="{package}: lưu {until}", en="{package}: kept {until}"),
    "retain.shorter": Text(
        vi="{package}: thời hạn lưu chỉ có thể kéo dài thêm",
        en="{package}: a retention can only be made longer",
    ),
    "delete.done": Text(
        vi="{package}: đã xóa; chứng nhận: {certificate}", en="{package}: deleted; certificate: {certificate}"
    ),
    "delete.withheld": Text(
        vi="{package}: đang được giữ lại vì người bệnh không đồng ý, hãy dùng `hoichan archive decide`",
        en="{package}: is held back for want of consent, use `hoichan archive decide`",
    ),
    "withdraw.done": Text(
        vi="{package}: được giữ lại cho đến khi có quyết định (`hoichan archive decide`)",
        en="{package}: held back until people decide (`hoichan archive decide`)",
    ),
    "withdraw.already": Text(vi="{package}: đã được giữ lại", en="{package}: is held back already"),
    "withdraw.no-case": Text(
        vi="{package}: không thuộc ca bệnh nào nên không có đồng ý để rút lại",
        en="{package}: belongs to no case, so there is no consent to withdraw",
    ),
    "withdraw.going-on": Text(
        vi="{package}: ca chưa kết thúc, hãy ghi nhận trong phòng",
        en="{package}: the case goes on, state it in the room",
    ),
    "withdraw.pacs": Text(
        vi="{package}: PACS đã có hoặc có thể đã có một phần, phải xóa ở đó",
        en="{package}: the PACS has it, or may have a part of it, which must be removed there",
    ),
    "decide.keep": Text(
        vi="{package}: được lưu trữ bình thường trở lại", en="{package}: goes on like others"
    ),
    "decide.restrict": Text(
        vi="{package}: giữ vì lý do pháp lý, chỉ phòng lưu trữ mở được",
        en="{package}: kept for legal reasons, only the archive can open it",
    ),
    "decide.destroy": Text(
        vi="{package}: đã hủy; chứng nhận: {certificate}",
        en="{package}: destroyed; certificate: {certificate}",
    ),
    "delete.pacs": Text(
        vi="{count} đối tượng DICOM trên PACS phải được xóa ở đó, xem chứng nhận",
        en="{count} DICOM objects in the PACS must be deleted there, see the certificate",
    ),
    "unknown-package": Text(vi="Không có gói {package}", en="There is no package {package}"),
    "not-sealed": Text(vi="{package}: chưa niêm phong", en="{package}: is not sealed yet"),
    "failed": Text(vi="{what}: {sentence}", en="{what}: {sentence}"),
    "stage.read": Text(vi="đọc nhật ký", en="reading"),
    "stage.compose": Text(vi="dựng hình", en="composing"),
    "stage.seal": Text(vi="niêm phong", en="sealing"),
    "stage.deliver": Text(vi="gửi PACS", en="delivering"),
}

# Why something failed, by the code of its error; of other codes the English sentence is all there is.
FAILURES: Final[Mapping[str, Text]] = {
    "busy": Text(vi="một tiến trình khác đang làm việc này", en="another process works on it"),
    "disk-full": Text(vi="ổ đĩa đã đầy", en="the disk is full"),
    "disk-error": Text(vi="ổ đĩa báo lỗi", en="the disk refuses"),
    "catalogue-broken": Text(
        vi="danh mục bị hỏng, hãy chạy `hoichan archive recover`",
        en="the catalogue is broken, run `hoichan archive recover`",
    ),
    "catalogue-unusable": Text(vi="không dùng được danh mục", en="the catalogue cannot be used"),
    "catalogue-newer": Text(
        vi="danh mục do phiên bản mới hơn ghi", en="the catalogue was written by a newer version"
    ),
    "journal-broken": Text(vi="nhật ký phiên bị hỏng", en="the journal of the session is broken"),
    "journal-empty": Text(vi="nhật ký phiên trống", en="the journal of the session is empty"),
    "package-unknown": Text(vi="phiên không có gói này", en="the session has no such package"),
    "worker-crashed": Text(vi="tiến trình dựng gói bị dừng đột ngột", en="the worker died"),
    "worker-stalled": Text(vi="tiến trình dựng gói không tiến triển", en="the worker got no further"),
    "legal-hold": Text(vi="gói đang được giữ theo yêu cầu pháp lý", en="it is under legal hold"),
    "kept-for-ever": Text(vi="gói phải lưu vĩnh viễn", en="it is kept for ever"),
    "retention-runs": Text(vi="chưa hết thời hạn lưu", en="its retention has not ended"),
    "withheld": Text(vi="người bệnh không đồng ý ghi hình", en="the patient does not consent"),
    "not-approved": Text(vi="thiếu người quyết định hoặc lý do", en="nobody decided it, or for no reason"),
    "two-approvers": Text(vi="hủy cần hai người khác nhau", en="destroying takes two different people"),
    "nothing-to-decide": Text(
        vi="người bệnh chưa rút lại đồng ý", en="its patient has not withdrawn consent"
    ),
    "being-destroyed": Text(vi="gói đang được hủy dở dang", en="its destruction has begun"),
    "package-deleted": Text(vi="gói đã bị xóa", en="it has been deleted"),
    "pacs-unreachable": Text(vi="không kết nối được PACS", en="the PACS cannot be reached"),
    "pacs-refused": Text(vi="PACS từ chối", en="the PACS refuses"),
    "pacs-unavailable": Text(vi="PACS tạm thời không nhận", en="the PACS does not take it now"),
    "pacs-not-stored": Text(vi="PACS không lưu được", en="the PACS has not stored it"),
    "pacs-not-readable": Text(vi="không đọc lại được từ PACS", en="the PACS does not give it back"),
    "pacs-other-object": Text(vi="PACS trả về nội dung khác", en="the PACS gave back something else"),
    "pacs-answer": Text(vi="PACS trả lời không hiểu được", en="the PACS answers what nobody understands"),
    "pacs-settings": Text(vi="cài đặt [dicom] không dùng được", en="the settings [dicom] cannot be used"),
}


class Speech:
    """Says things in one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values."""
        return self._in_language(TEXTS[key]).format(**values)

    def who(self, text: str) -> str:
        """Return who did something: a program of ours, or a role, then site and name as they are."""
        head, comma, rest = text.partition(", ")
        for key in (f"who.{text}", f"role.{head}"):
            if key in TEXTS:
                return self(key) + (comma + rest if key.startswith("role.") else "")
        return text

    def failure(self, code: str, sentence: str) -> str:
        """Return why something failed; the English sentence has the details."""
        known = FAILURES.get(code)
        return sentence if known is None else f"{self._in_language(known)} ({sentence})"

    def _in_language(self, text: Text) -> str:
        return text.vi if self.language == "vi" else text.en


def language(asked: str | None) -> str:
    """Return the language to speak: what was asked for, else that of the terminal."""
    spoken = (
        asked or os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    )
    return "vi" if spoken.lower().startswith("vi") else "en"
