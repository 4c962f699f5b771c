type LibraryTexts = typeof import("./texts.vi.js").vi;
interface FolderTexts extends LibraryTexts {}
