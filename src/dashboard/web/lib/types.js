// The shapes of all JSON that the admin port speaks. Times are milliseconds since 1970, ids are hex text, and a
// number that nobody knows is null, never 0.

/** @typedef {"leader"|"follower"|"pre_candidate"|"candidate"|"learner"|"outsider"} Role */
/** @typedef {"voter"|"learner"|"leaving"|"none"} Membership */

/**
 * What the cluster is like, as the node that was asked sees it.
 * @typedef {object} Cluster
 * @property {{id: string, name: string}} asked The node that answers.
 * @property {number} now Its clock.
 * @property {string} cluster_id
 * @property {boolean} show_content False: bodies of messages and headers are masked.
 * @property {boolean} token_needed True: whoever changes something needs the admin token.
 * @property {string|null} trace_url Where traces are shown, with `{trace_id}` in it.
 * @property {string|null} leader
 * @property {number} term
 * @property {"majority"|"half_plus_one"} quorum
 * @property {boolean} joint Two configurations are in force until the change of members is complete.
 * @property {boolean} [removed] True: the node that answers is not a member any more, and does not know who is.
 * @property {number} voters
 * @property {number} voters_up
 * @property {number} needed
 * @property {number} tolerates How many more nodes can be lost; negative: how many are missing.
 * @property {number|null} commit_rate Entries in a second.
 * @property {number|null} commit_p99_ms
 * @property {Alarm[]} alarms
 * @property {Node[]} nodes In the order of their names.
 */

/**
 * @typedef {object} Alarm
 * @property {"critical"|"warning"} level
 * @property {string} code
 * @property {string} text
 * @property {string|null} node
 */

/**
 * The time-outs in force, and what they follow from.
 * @typedef {object} Timeouts
 * @property {number} election_min_ms
 * @property {number} election_max_ms
 * @property {number} heartbeat_ms
 * @property {string} reason What decided the election time-out, in a word.
 * @property {number|null} gap_median_ms Of the longest silences of heartbeat intervals; null: none was measured.
 * @property {number|null} gap_high_ms
 * @property {number|null} round_trip_median_ms
 * @property {number|null} round_trip_high_ms
 * @property {number|null} lateness_ms How late the node was called at times.
 */

/**
 * A node. All below `seen_at` is of the moment when it last answered, and null when it never did.
 * @typedef {object} Node
 * @property {string} id
 * @property {string} name
 * @property {string} client_address
 * @property {string} peer_address
 * @property {string|null} admin_address
 * @property {Membership} membership
 * @property {boolean} reachable
 * @property {number|null} seen_at
 * @property {Role|null} role
 * @property {number|null} term
 * @property {string|null} voted_for
 * @property {string|null} leader
 * @property {number|null} commit
 * @property {number|null} applied
 * @property {number|null} last
 * @property {number|null} durable
 * @property {number|null} first
 * @property {number|null} snapshot
 * @property {number|null} lag Entries that it lacks, as its leader sees it; so are the next three.
 * @property {{messages: number, bytes: number}|null} in_flight
 * @property {number|null} last_contact_ms
 * @property {number|null} round_trip_ms
 * @property {number|null} heartbeats_sent From the leader to this node, since the leader's term began.
 * @property {number|null} heartbeats_heard From this node to the leader, since the leader's term began.
 * @property {number|null} clock_ahead_ms Of its clock before that of the node that was asked, at least; negative: behind.
 * @property {number|null} fsync_p50_ms Of the last minute, as the next three; null: none happened.
 * @property {number|null} fsync_p99_ms
 * @property {number|null} commit_p50_ms
 * @property {number|null} commit_p99_ms
 * @property {Disk|null} disk
 * @property {Timeouts|null} timeouts
 * @property {number|null} elections
 * @property {number|null} leader_changes
 * @property {string|null} version
 * @property {number|null} uptime_s
 * @property {number|null} memory Bytes.
 * @property {Condition[]|null} health
 * @property {string|null} trouble Why it cannot take part; empty when it can.
 * @property {Transfer[]|null} transfers
 */

/**
 * Bytes on the disk of a node.
 * @typedef {object} Disk
 * @property {number|null} log
 * @property {number|null} archive Files that have left the log and hold bodies of messages that still live.
 * @property {number|null} living
 * @property {number|null} snapshot
 * @property {number|null} spare
 * @property {number|null} written Handed to the disk since the node started.
 * @property {number|null} free
 * @property {number|null} total
 * @property {string|null} oldest_file
 * @property {string|null} oldest_kept_for
 */

/** @typedef {{what: string, missing: string|null}} Condition Something that must hold, and why it does not. */

/**
 * A snapshot on its way.
 * @typedef {object} Transfer
 * @property {string} peer Id of the other node.
 * @property {boolean} sends
 * @property {number} index
 * @property {number} file_bytes
 * @property {number|null} file_bytes_total
 * @property {number} bodies
 * @property {number|null} bodies_total
 */

/**
 * @typedef {object} Event
 * @property {string} node
 * @property {string} name
 * @property {number} seq
 * @property {number} at
 * @property {string} event
 * @property {string} words
 * @property {"role"|"vote"|"transfer"|"membership"|"snapshot"|"connection"|"disk"|"process"|"trouble"} kind
 * @property {"info"|"warn"|"error"} level
 * @property {string|null} peer
 * @property {number|null} term
 * @property {number|null} index
 */

/**
 * @typedef {object} LogPart
 * @property {string} node
 * @property {number} first
 * @property {number} last
 * @property {number} commit
 * @property {number} applied
 * @property {Entry[]} entries
 */

/** @typedef {LogPart & {next: number|null}} LogMatches Entries that match, and where the search goes on. */

/**
 * An entry of the log.
 * @typedef {object} Entry
 * @property {number} index
 * @property {number} term
 * @property {"noop"|"command"|"configuration"|"expiry"|"unknown"} kind
 * @property {boolean} committed
 * @property {boolean} applied
 * @property {number} size
 * @property {string} digest Equal entries have equal digests on all nodes.
 * @property {string|null} session
 * @property {number|null} sequence
 * @property {number|null} time
 * @property {string|null} trace
 * @property {Operation[]} operations
 * @property {string[]} voters Of a configuration, as the next two.
 * @property {string[]} outgoing
 * @property {string[]} learners
 */

/**
 * @typedef {object} Operation
 * @property {string} verb
 * @property {string|null} queue
 * @property {string|null} text
 * @property {number|null} bytes
 * @property {string|null} data Base64, where it is not text.
 * @property {Object<string, string>|null} headers
 * @property {string|null} more
 */

/**
 * @typedef {object} Queue
 * @property {string} name
 * @property {number} ready
 * @property {number} leased
 * @property {number} delayed
 * @property {number} dead
 * @property {number} bytes
 * @property {number|null} oldest_ms
 * @property {number|null} in_rate
 * @property {number|null} out_rate
 * @property {(number|null)[]} spark Ready messages, one count each five seconds.
 */

/**
 * @typedef {object} Totals
 * @property {number} queues
 * @property {number} ready
 * @property {number} leased
 * @property {number} delayed
 * @property {number} dead
 * @property {number} bytes
 * @property {number} sessions
 * @property {number|null} in_rate
 * @property {number|null} out_rate
 */

/** @typedef {{queues: Queue[], more: boolean, totals: Totals, age_ms: number}} QueueList */
/** @typedef {{totals: Totals, asked: string}} QueueTotals */

/**
 * @typedef {object} QueueDetail
 * @property {Queue} queue
 * @property {{lease_ms: number|null, deliveries_max: number|null, messages_max: number|null}} settings
 * @property {{enqueued: number, dequeued: number, acknowledged: number, redelivered: number, dead_lettered: number}}
 *   counts
 * @property {QueueHistory} history
 */

/**
 * @typedef {object} QueueHistory
 * @property {number} step_ms
 * @property {number} end
 * @property {(number|null)[]} ready
 * @property {(number|null)[]} leased
 * @property {(number|null)[]} dead
 * @property {(number|null)[]} in_rate
 * @property {(number|null)[]} out_rate
 */

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {"ready"|"leased"|"delayed"|"dead"} state
 * @property {string|null} text
 * @property {string|null} data Base64, where it is not text.
 * @property {number} bytes
 * @property {Object<string, string>} headers
 * @property {number|null} enqueued_at
 * @property {number} deliveries
 * @property {number|null} due_at When its lease or its delay ends.
 * @property {string|null} reason Why it is dead.
 */

/** @typedef {{messages: Message[], next: string|null}} MessageList */

/**
 * @typedef {object} History
 * @property {number} step_ms
 * @property {number} end
 * @property {{commit_rate: (number|null)[], commit_p99_ms: (number|null)[], fsync_p99_ms: (number|null)[], lag:
 *   (number|null)[],
 *   ready: (number|null)[], memory: (number|null)[]}} series
 */

/**
 * @typedef {object} MemberChange
 * @property {"add"|"promote"|"remove"|"transfer"} action
 * @property {string} [member] Id or name.
 * @property {string} [id] Of a node that is added, as the rest.
 * @property {string} [name]
 * @property {string} [client_address]
 * @property {string} [peer_address]
 * @property {boolean} [stay_learner]
 */

/** @typedef {{voters: string[], learners: string[], needed: number, tolerates: number}} Voters */

/**
 * What a change of members would do.
 * @typedef {object} MemberPlan
 * @property {boolean} allowed
 * @property {string} why Why it is not allowed.
 * @property {Voters} before
 * @property {Voters} after
 * @property {string|null} leader_after
 * @property {string[]} steps
 */

/**
 * @typedef {object} Connection
 * @property {boolean} connected
 * @property {number|null} age_ms How old the last message of the stream is.
 * @property {boolean} old So old that what is shown is no longer the present.
 */

/**
 * @typedef {object} Topics What `App.on` hands over.
 * @property {Cluster} cluster
 * @property {Event[]} events Only those that have just come.
 * @property {QueueTotals} queues
 * @property {Connection} connection
 */

/**
 * What a page gets.
 * @typedef {object} App
 * @property {() => Cluster|null} cluster
 * @property {() => Event[]} events All that are kept, the newest last, at most 5,000.
 * @property {() => QueueTotals|null} queues
 * @property {<T extends keyof Topics>(topic: T, handler: (value: Topics[T]) => void) => () => void} on The answer
 *   ends it.
 * @property {(path: string, signal?: AbortSignal) => Promise<any>} get
 * @property {(path: string, body: object) => Promise<any>} post Asks for the token when one is needed.
 * @property {URLSearchParams} params Of the hash.
 * @property {(hash: string) => void} go Opens a page.
 * @property {(params: URLSearchParams) => void} replace Writes other parameters of this page into the address; opens
 *   nothing.
 * @property {(text: string) => void} announce Tells a screen reader.
 * @property {(text: string, level?: "good"|"warn"|"bad") => void} toast Shows a line for some seconds, and announces
 *   it.
 */

/**
 * A module below `pages/`.
 * @typedef {object} Page
 * @property {string} title
 * @property {string[]} [styles] Sheets below `pages/` that it needs.
 * @property {[string, string][]} [keys] Keys of the page and what they do, for the help.
 * @property {(root: HTMLElement, app: App) => void | (() => void) | Mounted} mount
 */

/**
 * What `mount` may answer instead of the function that unmounts.
 * @typedef {object} Mounted
 * @property {() => void} unmount
 * @property {(params: URLSearchParams) => void} [navigate] Called instead of a new mount when only the parameters
 *   change.
 */

/**
 * A piece of a page that keeps its nodes and patches them.
 * @template T
 * @typedef {object} Part
 * @property {HTMLElement|SVGElement} node
 * @property {(value: T) => void} update
 */

export {};
