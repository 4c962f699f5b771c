type PrejoinTexts = typeof import("./texts.vi.js").vi;
interface FolderTexts extends PrejoinTexts {}
