// What each alarm means, and what to do. The node that raises an alarm words what is the case; this is what holds in
// general.

/** @typedef {{means: string, todo: string}} Advice */

/** @type {Record<string, Advice>} */
const ADVICE = {
  no_leader: {
    means:
      "Without a leader nothing is written or read. Clients wait and try again; nothing that was answered is lost.",
    todo:
      "An election takes a second or two. If it does not end, too few voters reach each other: look for " +
      "nodes that do not answer, start them, or mend the network between them.",
  },
  no_quorum: {
    means: "Fewer voters are up than a commit needs, so that nothing is committed. Nothing that was answered is lost.",
    todo:
      "Start the voters that do not answer, with their data directories. A voter whose disk is lost can be " +
      "replaced by a node of the same name once a quorum is back.",
  },
  no_margin: {
    means: "The cluster works, and stops working when it loses one more voter.",
    todo:
      "Bring back the voter that does not answer, or add a node in its place before anything is restarted " +
      "on purpose.",
  },
  unreachable: {
    means: "The node does not answer. Its card keeps what it last told.",
    todo:
      "See whether its process runs and whether its peer port can be reached. If it will not return, remove" +
      " it on the page Members, and add another.",
  },
  slow_fsync: {
    means: "Writes wait for the disk: no entry counts on a node before its fsync is done.",
    todo:
      "See what else uses that disk. Keep the data directory on a local SSD of its own, not on a network " +
      "file system.",
  },
  slow_commit: {
    means: "Entries take long until a quorum has them on disk.",
    todo: "Compare fsync and round trip on the cards: the slowest member of the fastest quorum sets the pace.",
  },
  lag: {
    means: "The node lacks entries that its leader has. It does not count for commits until it has them.",
    todo: "It catches up by itself. If it does not, look at its disk, its fsync, and its round trip.",
  },
  elections: {
    means: "Leaders change often. Each change stops writes for about one election time-out.",
    todo: "Look at the events for the cause: a slow disk, a busy processor, or a network that loses packets.",
  },
  disk_full: {
    means: "The disk of the node has little room left. A node that cannot write stops.",
    todo:
      "Give the disk more room, consume what waits in queues, or see on the card why the oldest file of the" +
      " log is kept.",
  },
  learner: {
    means: "A learner receives the log and has no vote: it adds nothing to the failures that are tolerated.",
    todo: "Wait until it has caught up, or promote it on the page Members.",
  },
  trouble: {
    means: "The node answers and cannot take part.",
    todo: "Its card says why, in its own words.",
  },
  unhealthy: {
    means: "The node answers and says that something it needs is missing.",
    todo: "Its card lists what is missing, and why.",
  },
};

/** @type {Advice} */
const OTHER = {
  means: "The node that raised it says what is the case.",
  todo: "Look at the cards of the nodes and at the events around this time.",
};

/**
 * @param {string} code
 * @returns {Advice}
 */
export const advice = (code) => ADVICE[code] ?? OTHER;
