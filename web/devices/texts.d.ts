type DevicesTexts = typeof import("./texts.vi.js").vi;
interface FolderTexts extends DevicesTexts {}
