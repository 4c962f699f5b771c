/**
 * The words and messages the page shares with the bridge (docs/protocol.md).
 * Types only: this module has no code.
 *
 * @typedef {"microphone" | "camera" | "content" | "auxiliary"} Source
 * @typedef {"voice" | "stage" | "content" | "thumbnail"} SlotRole
 * @typedef {"chair" | "secretary" | "presenter" | "expert" | "observer"} Role
 * @typedef {"central" | "province" | "district" | "commune"} Level
 *
 * @typedef {object} Member
 * @property {string} participant
 * @property {string} site
 * @property {string} name
 * @property {Role} role
 * @property {Level} level
 * @property {"on" | "muted" | "interrupted" | "off"} microphone  interrupted: taken by its system, as by a call
 * @property {"on" | "interrupted" | "off"} camera
 * @property {boolean} content
 * @property {boolean} auxiliary
 * @property {number | null} hand  place in the queue of raised hands, null when down
 * @property {boolean} connected
 * @property {boolean} [signal]  false: nothing at all comes of its media, though it ought to
 * @property {boolean} [shares_link]  somebody else in the room came with the same link
 * @property {boolean} [self_named]  the name is its own word
 *
 * @typedef {{participant: string, source: Source}} Shown
 * @typedef {"line" | "no-signal" | "no-picture" | "keyframe"} PauseReason  why no new picture comes in a slot
 *
 * @typedef {"down" | "up" | "wifi" | "relay" | "processor"} Weakness  what keeps a site's media from being good
 *
 * @typedef {object} SlotsMessage
 * @property {"slots"} type
 * @property {Record<string, Shown | null>} slots  by mid
 * @property {string[] | null} [unsupported]
 * @property {Record<string, PauseReason | null> | null} [paused]
 * @property {Record<string, number> | null} [begins]  RTP time of the first frame of who is shown
 *
 * @typedef {{participant: string | null, mode: "chair" | "speaker"}} Stage
 * @typedef {"locked" | "removed" | "no-chair"} KnockReason
 * @typedef {{participant: string, site: string, name: string, reason?: KnockReason, device?: boolean, self_named?: boolean}} Waiting
 * @typedef {{participant: string, name: string, site: string, text: string, at_ms: number}} ChatLine
 *
 *
 * @typedef {object} RecordingStatus
 * @property {"off" | "waiting" | "recording" | "paused" | "stopped" | "failed"} state
 * @property {"nobody-here" | "no-case" | "no-consent" | "consent-refused" | "consent-withdrawn" | "case-left" | "case-resumed" | null} reason  why it waits, or for what it is paused
 * @property {string | null} case  the active case
 * @property {string | null} code  its pseudonymous code
 * @property {"writer-behind" | "disk-low" | "disk-shedding" | "disk-full" | null} problem
 * @property {number} since_ms
 *
 * @typedef {"unknown" | "granted" | "refused" | "withdrawn"} Consent
 *
 * @typedef {object} CaseLine
 * @property {string} case
 * @property {string} code
 * @property {string | null} site
 * @property {"planned" | "active" | "finished"} state
 * @property {Consent} consent
 *
 * @typedef {object} Welcome
 * @property {"welcome"} type
 * @property {number} version
 * @property {string} participant
 * @property {{secret: string, seconds: number}} resume
 * @property {Role} role
 * @property {{id: string, title: string, locked: boolean, stage: Stage | null, content: Shown | null, recording: RecordingStatus}} room
 * @property {Member[]} roster
 * @property {number} count
 * @property {ChatLine[]} chat
 * @property {number} thumbnails_max
 * @property {boolean} resumed
 * @property {boolean} may_publish
 * @property {number} link_in_use  how many others are in the room with the same link
 * @property {number} beat_s  the bridge says something at least so often
 * @property {{source: Source, by: string}[]} muted  what moderators have muted, not to be unmuted by the page
 * @property {Waiting[]} [waiting]
 * @property {CaseLine[]} [cases]
 *
 * @typedef {object} Quality
 * @property {number | null} rtt_ms
 * @property {number | null} loss_up  ratio 0..1 of what this page sent
 * @property {number | null} loss_down  ratio 0..1 of what this page should have received
 * @property {"udp" | "tcp" | null} protocol
 * @property {number | null} available_bps
 * @property {{participant: string, source: Source, keyframe_interval_ms: number}[]} [devices]  those that the page shows
 *
 * @typedef {object} ProtocolError
 * @property {"error"} type
 * @property {string} code
 * @property {{vi: string, en: string}} [message]
 * @property {string | null} [for]
 * @property {number | null} [id]
 *
 * @typedef {Welcome
 *   | {type: "waiting", reason: KnockReason, beat_s: number}
 *   | {type: "beat"}
 *   | {type: "answer", id: number, sdp: string}
 *   | SlotsMessage
 *   | {type: "layers", layers: Record<string, string[]>}
 *   | {type: "roster", joined?: Member[], changed?: Member[], left?: string[], count: number}
 *   | {type: "stage", participant: string | null, mode: "chair" | "speaker"}
 *   | {type: "content", participant: string | null, source?: Source | null, withheld?: boolean}
 *   | {type: "speakers", voices: string[], dominant: string | null}
 *   | ({type: "chat"} & ChatLine)
 *   | {type: "muted", source: Source, by: string | null}
 *   | {type: "floor", granted: boolean}
 *   | {type: "locked", locked: boolean}
 *   | {type: "knock", waiting: Waiting[]}
 *   | ({type: "recording"} & RecordingStatus)
 *   | {type: "cases", cases: CaseLine[]}
 *   | {type: "token", token: string, expires_s: number, ice_servers: RTCIceServer[]}
 *   | {type: "removed", by?: string | null}
 *   | {type: "closing", seconds: number}
 *   | ({type: "quality"} & Quality)
 *   | {type: "conditions", weak: Record<string, Weakness | null>}
 *   | ProtocolError} BridgeMessage
 *
 * @typedef {object} Admission  what POST /api/join gives for an invitation
 * @property {string} token
 * @property {number} expires_s
 * @property {{id: string, title: string}} room
 * @property {string} site
 * @property {Level} level
 * @property {Role} role
 * @property {string | null} [name]
 * @property {"off" | "on-consent" | "auto"} [recording]  when this conference will be recorded
 * @property {number} [link_in_use]  how many are in the room with this link already
 * @property {RTCIceServer[]} [ice_servers]
 */

export {};
