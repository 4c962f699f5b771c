/** The keys of all folders' texts; each folder with texts merges its own into this. */
interface FolderTexts {}
