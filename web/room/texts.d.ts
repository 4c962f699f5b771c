type RoomTexts = typeof import("./texts.vi.js").vi;
interface FolderTexts extends RoomTexts {}
