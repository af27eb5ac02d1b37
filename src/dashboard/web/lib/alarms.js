// What each alarm means, and what to do. The node that raises it says what is the case; this is what holds in general.

/** @typedef {{means: string, todo: string}} Advice */

/** @type {Record<string, Advice>} */
const ADVICE = {
  no_leader: {
    means:
      "Nodes that know no leader write and read nothing. Their clients wait and try again; nothing that was " +
      "acknowledged is lost.",
    todo:
      "If nodes do not answer here, look at their pages first: they may have a leader. Otherwise an election takes a " +
      "second or two. If none succeeds, too few voters reach each other: start them, or mend the network between them.",
  },
  quorum_lost: {
    means:
      "This node finds fewer voters up than a commit needs, and a node that is cut off finds the same. Nothing that " +
      "was acknowledged is lost.",
    todo:
      "Look at the page of a node that does not answer here: if it has a leader, mend the network of this one. " +
      "Otherwise start the voters that do not answer, with their data directories: without a quorum no member can be " +
      "removed or replaced. Once it is back, a node of the same name takes the place of a voter whose disk is lost.",
  },
  no_failure_tolerated: {
    means: "The cluster works, and stops when it loses one more voter.",
    todo:
      "Bring back the voter that does not answer, or let another node take its place, before anything is " +
      "restarted on purpose.",
  },
  slow_commit: {
    means: "Entries take long until a quorum has them on disk, and so does every request.",
    todo: "Compare fsync and round trip on the cards: the slowest member of the fastest quorum sets the pace.",
  },
  frequent_elections: {
    means: "Every election stops writes for about one election time-out.",
    todo:
      "The events say why leaders fell: a slow disk, a busy processor, a network that loses packets, or a node " +
      "that is restarted again and again.",
  },
  unreachable: {
    means: "The node that was asked hears nothing from it. Its card keeps what it last told.",
    todo:
      "Read the last lines of its log, then start it again with its data directory; if it runs, see whether its peer " +
      "port can be reached from here. If its disk or its log is broken, start it with an empty directory under the " +
      "same name. Remove it only if it will not return, and while there is a quorum.",
  },
  not_reached: {
    means: "Both work, and the way between them does not. If the leader is lost, one of them may not hear of the next.",
    todo: "See whether the two nodes reach each other's peer ports.",
  },
  removed: {
    means: "The cluster goes on without this node, and tells it nothing any more.",
    todo: "Look at the page of another node. Stop this one; started again with somebody to ask, it joins anew.",
  },
  trouble: {
    means: "The node answers and cannot take part. A voter that cannot is as good as lost.",
    todo: "Its card says why, in its own words.",
  },
  lags: {
    means: "The node lacks entries that its leader has. It does not count for a commit until it has them.",
    todo:
      "It catches up by itself, if it can: see on its card whether its disk or its round trip is slower than " +
      "those of the others.",
  },
  slow_fsync: {
    means:
      "No entry counts on a node before it is on its disk, so that a slow disk slows every commit that it is " +
      "needed for.",
    todo:
      "See what else uses this disk. Keep the data directory on a local SSD, not on a network file system. If " +
      "only the leader is slow, make another node the leader.",
  },
  disk_full: {
    means: "A node whose disk is full cannot write, and stops.",
    todo:
      "Give the disk more room, let consumers take what waits in queues, and see on the card why the oldest " +
      "file of the log is kept.",
  },
  learner_stays: {
    means: "A learner receives the log and has no vote: it adds nothing to the failures that are tolerated.",
    todo:
      "It becomes a voter once it has caught up. If it does not, its card says how far it is behind, and its " +
      "health what is missing.",
  },
  clock_skew: {
    means:
      "Leases and delays follow the clock of the leader. When leadership changes, they end earlier or later by the " +
      "difference, so that a message may be delivered again too soon.",
    todo: "Let NTP keep the clocks of all nodes.",
  },
  not_ready: {
    means: "The node answers, and says that something is missing that it needs.",
    todo: "Its card lists what is missing, and why.",
  },
  dead_letters: {
    means: "Messages were delivered as often as their queue allows, or rejected, and nobody finished with them.",
    todo:
      "Look at the dead letters on the page of the queue: each says why it is there. Mend the consumer, then " +
      "redrive them.",
  },
  oldest_message: {
    means: "Nobody takes this message, or consumers are slower than producers.",
    todo:
      "See on the page Queues whether the queue has consumers, and compare the rates of what comes in and goes " +
      "out.",
  },
};

/** @type {Advice} */
const OTHER = {
  means: "The node that raises it says what is the case.",
  todo: "Look at the cards of the nodes, and at the events around this time.",
};

/**
 * @param {string} code
 * @returns {Advice}
 */
export const advice = (code) => ADVICE[code] ?? OTHER;
