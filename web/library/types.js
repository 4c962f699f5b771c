/**
 * What the library's API sends; docs/archive-api.md has the words. Times
 * called _ms are Unix milliseconds.
 */

/**
 * @typedef {object} Session
 * @property {"all" | "room"} scope
 * @property {{id: string, title: string} | null} room
 * @property {string} site
 * @property {string} role
 * @property {string | null} name
 * @property {number} expires_s
 */

/** @typedef {"ongoing" | "recording" | "queued" | "repairing" | "composing" | "sealing" | "sealed" | "delivering" | "delivered" | "failed"} PackageState */

/**
 * @typedef {object} PackageSummary
 * @property {string} id
 * @property {string} session
 * @property {string} title
 * @property {string} kind
 * @property {string | null} case
 * @property {string | null} code
 * @property {string[]} sites
 * @property {number} started_ms
 * @property {number} ended_ms
 * @property {number} duration_ms
 * @property {PackageState} state
 * @property {number} progress  0 to 1
 * @property {number | null} remaining_s
 * @property {number} attempts
 * @property {number | null} next_attempt_ms
 * @property {{code: string, sentence: string} | null} error
 * @property {number} bytes
 * @property {boolean} is_sealed
 * @property {boolean} legal_hold
 * @property {"unknown" | "granted" | "refused" | "withdrawn" | null} consent  null where there is no patient
 * @property {number | null} consent_ms
 * @property {"open" | "keep" | "restrict" | "destroy" | null} disposition  null where nothing is to be decided
 */

/**
 * @typedef {object} Part
 * @property {number} number
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} frames
 * @property {number} fps
 * @property {number} width
 * @property {number} height
 * @property {number} bytes
 */

/** @typedef {{start_ms: number, end_ms: number}} Span */

/** @typedef {Span & {missing_ms: number, site: string | null, name: string | null, source: string | null, reason: string | null, packets: number | null}} Gap */

/**
 * @typedef {object} Presence
 * @property {string} site
 * @property {string} level
 * @property {string} joined_at  ISO 8601
 * @property {string} left_at
 * @property {number} minutes
 */

/** @typedef {{people: (Presence & {name: string, role: string, device: boolean})[], sites: (Presence & {people: number})[]}} Attendance */

/** @typedef {{at_ms: number, method: string, is_delivered: boolean, error: string | null}} Delivery */

/** @typedef {{at_ms: number, who: string, action: string, network: string | null, detail: Record<string, unknown>}} AuditLine */

/**
 * @typedef {object} PackageContents
 * @property {string | null} seal
 * @property {number | null} sealed_ms
 * @property {number | null} delivered_ms
 * @property {number | null} checked_ms
 * @property {number} damaged_ms
 * @property {boolean | null} fixity_ok
 * @property {string} retention
 * @property {string | null} retention_until
 * @property {Delivery[]} deliveries
 * @property {Span[]} recorded
 * @property {Part[]} video
 * @property {Part[]} content
 * @property {string[]} files
 * @property {Record<string, unknown> | null} sheet
 * @property {number | null} gap_count  null where nobody can tell
 * @property {Gap[]} gaps  the first of them
 * @property {Attendance | null} attendance
 * @property {AuditLine[]} [audit]
 */

/** @typedef {PackageSummary & PackageContents} PackageDetail */

/** @typedef {{packages: PackageSummary[], total: number, cursor: string | null}} PackagePage */

/** @typedef {{q: string, from: string, to: string, state: string, undecided: string}} Wishes */

export {};
