//! What real Sentinels (Redis 7.0.15, three of them, a primary and its replicas) said to SENTINEL
//! GET-MASTER-ADDR-BY-NAME, MASTER, REPLICAS and SENTINELS, as it came.

/// All is well, and one replica is found so far.
pub(super) const HEALTHY: [&[u8]; 4] = [
    b"\
    *2\r\n$9\r\n127.0.0.1\r\n$5\r\n22001\r\n",
    b"\
    *40\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22001\r\n$5\r\n\
    runid\r\n$40\r\nad8f7da0be6f2d03c0f8bff218a806c70cea0f42\r\n$5\r\nflags\r\n$6\r\nmaster\r\n$21\r\n\
    link-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n\
    $18\r\nlast-ok-ping-reply\r\n$3\r\n523\r\n$15\r\nlast-ping-reply\r\n$3\r\n523\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n4621\r\n$13\r\nrole-reported\r\n$6\r\n\
    master\r\n$18\r\nrole-reported-time\r\n$4\r\n4633\r\n$12\r\nconfig-epoch\r\n$1\r\n0\r\n$10\r\nnum-slaves\r\n\
    $1\r\n1\r\n$19\r\nnum-other-sentinels\r\n$1\r\n2\r\n$6\r\nquorum\r\n$1\r\n2\r\n$16\r\nfailover-timeout\r\n\
    $4\r\n5000\r\n$14\r\nparallel-syncs\r\n$1\r\n1\r\n",
    b"\
    *1\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22003\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22003\r\n$5\r\nrunid\r\n$40\r\ndcd6a19272a9ce0b814467d14b9aec0199846712\r\n$5\r\nflags\r\n$5\r\nslave\r\n\
    $21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n\
    $1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n884\r\n$15\r\nlast-ping-reply\r\n$3\r\n884\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$3\r\n884\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$4\r\n5123\r\n$21\r\nmaster-link-down-time\r\n$5\r\n-1000\r\n$18\r\n\
    master-link-status\r\n$3\r\nerr\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\nmaster-port\r\n$5\r\n\
    22001\r\n$14\r\nslave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$1\r\n1\r\n$17\r\n\
    replica-announced\r\n$1\r\n1\r\n",
    b"\
    *2\r\n*28\r\n$4\r\nname\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n23002\r\n$5\r\nrunid\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n\
    $5\r\nflags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n\
    1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n501\r\n$15\r\n\
    last-ping-reply\r\n$3\r\n501\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\n\
    last-hello-message\r\n$4\r\n1527\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n\
    0\r\n*28\r\n$4\r\nname\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n\
    $4\r\nport\r\n$5\r\n23003\r\n$5\r\nrunid\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$5\r\n\
    flags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n\
    $14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n345\r\n$15\r\nlast-ping-reply\r\n\
    $3\r\n345\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\nlast-hello-message\r\n$4\r\n1522\r\n\
    $12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n0\r\n",
];

/// The same in RESP3.
pub(super) const HEALTHY_3: [&[u8]; 4] = [
    b"\
    *2\r\n$9\r\n127.0.0.1\r\n$5\r\n22001\r\n",
    b"\
    %20\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22001\r\n$5\r\n\
    runid\r\n$40\r\nad8f7da0be6f2d03c0f8bff218a806c70cea0f42\r\n$5\r\nflags\r\n$6\r\nmaster\r\n$21\r\n\
    link-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n\
    $18\r\nlast-ok-ping-reply\r\n$3\r\n959\r\n$15\r\nlast-ping-reply\r\n$3\r\n959\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n7126\r\n$13\r\nrole-reported\r\n$6\r\n\
    master\r\n$18\r\nrole-reported-time\r\n$4\r\n7138\r\n$12\r\nconfig-epoch\r\n$1\r\n0\r\n$10\r\nnum-slaves\r\n\
    $1\r\n1\r\n$19\r\nnum-other-sentinels\r\n$1\r\n2\r\n$6\r\nquorum\r\n$1\r\n2\r\n$16\r\nfailover-timeout\r\n\
    $4\r\n5000\r\n$14\r\nparallel-syncs\r\n$1\r\n1\r\n",
    b"\
    *1\r\n%21\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22003\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22003\r\n$5\r\nrunid\r\n$40\r\ndcd6a19272a9ce0b814467d14b9aec0199846712\r\n$5\r\nflags\r\n$5\r\nslave\r\n\
    $21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n\
    $1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n290\r\n$15\r\nlast-ping-reply\r\n$3\r\n290\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n2349\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$4\r\n7628\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\n\
    master-link-status\r\n$2\r\nok\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\nmaster-port\r\n$5\r\n\
    22001\r\n$14\r\nslave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$3\r\n827\r\n$17\r\n\
    replica-announced\r\n$1\r\n1\r\n",
    b"\
    *2\r\n%14\r\n$4\r\nname\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n23002\r\n$5\r\nrunid\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n\
    $5\r\nflags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n\
    1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n946\r\n$15\r\n\
    last-ping-reply\r\n$3\r\n946\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\n\
    last-hello-message\r\n$4\r\n2012\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n\
    0\r\n%14\r\n$4\r\nname\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n\
    $4\r\nport\r\n$5\r\n23003\r\n$5\r\nrunid\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$5\r\n\
    flags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n\
    $14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n791\r\n$15\r\nlast-ping-reply\r\n\
    $3\r\n791\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\nlast-hello-message\r\n$2\r\n40\r\n\
    $12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n0\r\n",
];

/// Asked for a name that nobody watches.
pub(super) const UNKNOWN: [&[u8]; 4] = [
    b"\
    *-1\r\n",
    b"\
    -ERR No such master with that name\r\n",
    b"\
    -ERR No such master with that name\r\n",
    b"\
    -ERR No such master with that name\r\n",
];

/// The leader of a failover, after the replica was promoted and before it says +switch-master.
pub(super) const PROMOTING: [&[u8]; 4] = [
    b"\
    *2\r\n$9\r\n127.0.0.1\r\n$5\r\n22003\r\n",
    b"\
    *42\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22001\r\n$5\r\n\
    runid\r\n$40\r\nad8f7da0be6f2d03c0f8bff218a806c70cea0f42\r\n$5\r\nflags\r\n$42\r\n\
    master,failover_in_progress,force_failover\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\n\
    link-refcount\r\n$1\r\n1\r\n$14\r\nfailover-state\r\n$13\r\nreconf_slaves\r\n$14\r\nlast-ping-sent\r\n$1\r\n\
    0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n799\r\n$15\r\nlast-ping-reply\r\n$3\r\n799\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n2051\r\n$13\r\nrole-reported\r\n$6\r\n\
    master\r\n$18\r\nrole-reported-time\r\n$5\r\n12077\r\n$12\r\nconfig-epoch\r\n$1\r\n1\r\n$10\r\n\
    num-slaves\r\n$1\r\n2\r\n$19\r\nnum-other-sentinels\r\n$1\r\n2\r\n$6\r\nquorum\r\n$1\r\n2\r\n$16\r\n\
    failover-timeout\r\n$4\r\n5000\r\n$14\r\nparallel-syncs\r\n$1\r\n1\r\n",
    b"\
    *2\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22003\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22003\r\n$5\r\nrunid\r\n$40\r\ndcd6a19272a9ce0b814467d14b9aec0199846712\r\n$5\r\nflags\r\n$14\r\n\
    slave,promoted\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\n\
    last-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n627\r\n$15\r\nlast-ping-reply\r\n$3\r\n\
    627\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$2\r\n16\r\n$13\r\n\
    role-reported\r\n$6\r\nmaster\r\n$18\r\nrole-reported-time\r\n$2\r\n16\r\n$21\r\nmaster-link-down-time\r\n\
    $1\r\n0\r\n$18\r\nmaster-link-status\r\n$2\r\nok\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\n\
    master-port\r\n$5\r\n22001\r\n$14\r\nslave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$4\r\n\
    2070\r\n$17\r\nreplica-announced\r\n$1\r\n1\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22002\r\n$2\r\nip\r\n\
    $9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22002\r\n$5\r\nrunid\r\n$40\r\n\
    f0b3b51393ffe77687a2f989eb57506f09cc574f\r\n$5\r\nflags\r\n$5\r\nslave\r\n$21\r\nlink-pending-commands\r\n\
    $1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\n\
    last-ok-ping-reply\r\n$3\r\n943\r\n$15\r\nlast-ping-reply\r\n$3\r\n943\r\n$23\r\ndown-after-milliseconds\r\n\
    $4\r\n1000\r\n$12\r\ninfo-refresh\r\n$3\r\n943\r\n$13\r\nrole-reported\r\n$5\r\nslave\r\n$18\r\n\
    role-reported-time\r\n$4\r\n2053\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\nmaster-link-status\r\n\
    $2\r\nok\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\nmaster-port\r\n$5\r\n22001\r\n$14\r\n\
    slave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$4\r\n2070\r\n$17\r\nreplica-announced\r\n$1\r\n\
    1\r\n",
    b"\
    *2\r\n*28\r\n$4\r\nname\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n23002\r\n$5\r\nrunid\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n\
    $5\r\nflags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n\
    1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n799\r\n$15\r\n\
    last-ping-reply\r\n$3\r\n799\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\n\
    last-hello-message\r\n$4\r\n1860\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n\
    0\r\n*28\r\n$4\r\nname\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n\
    $4\r\nport\r\n$5\r\n23003\r\n$5\r\nrunid\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$5\r\n\
    flags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n\
    $14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n627\r\n$15\r\nlast-ping-reply\r\n\
    $3\r\n627\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\nlast-hello-message\r\n$2\r\n38\r\n\
    $12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n0\r\n",
];

/// One of two replicas is down.
pub(super) const REPLICA_DOWN: [&[u8]; 4] = [
    b"\
    *2\r\n$9\r\n127.0.0.1\r\n$5\r\n22003\r\n",
    b"\
    *40\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22003\r\n$5\r\n\
    runid\r\n$40\r\ndcd6a19272a9ce0b814467d14b9aec0199846712\r\n$5\r\nflags\r\n$6\r\nmaster\r\n$21\r\n\
    link-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n\
    $18\r\nlast-ok-ping-reply\r\n$3\r\n649\r\n$15\r\nlast-ping-reply\r\n$3\r\n649\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n6150\r\n$13\r\nrole-reported\r\n$6\r\n\
    master\r\n$18\r\nrole-reported-time\r\n$5\r\n44227\r\n$12\r\nconfig-epoch\r\n$1\r\n1\r\n$10\r\n\
    num-slaves\r\n$1\r\n2\r\n$19\r\nnum-other-sentinels\r\n$1\r\n2\r\n$6\r\nquorum\r\n$1\r\n2\r\n$16\r\n\
    failover-timeout\r\n$4\r\n5000\r\n$14\r\nparallel-syncs\r\n$1\r\n1\r\n",
    b"\
    *2\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22001\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22001\r\n$5\r\nrunid\r\n$40\r\nad8f7da0be6f2d03c0f8bff218a806c70cea0f42\r\n$5\r\nflags\r\n$5\r\nslave\r\n\
    $21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n\
    $1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n591\r\n$15\r\nlast-ping-reply\r\n$3\r\n591\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n9366\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$5\r\n34679\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\n\
    master-link-status\r\n$2\r\nok\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\nmaster-port\r\n$5\r\n\
    22003\r\n$14\r\nslave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$4\r\n9394\r\n$17\r\n\
    replica-announced\r\n$1\r\n1\r\n*44\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22002\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n22002\r\n$5\r\nrunid\r\n$40\r\nf0b3b51393ffe77687a2f989eb57506f09cc574f\r\n\
    $5\r\nflags\r\n$25\r\ns_down,slave,disconnected\r\n$21\r\nlink-pending-commands\r\n$1\r\n2\r\n$13\r\n\
    link-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$4\r\n3568\r\n$18\r\nlast-ok-ping-reply\r\n$4\r\n\
    4250\r\n$15\r\nlast-ping-reply\r\n$4\r\n4250\r\n$11\r\ns-down-time\r\n$4\r\n2491\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n4513\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$5\r\n44728\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\n\
    master-link-status\r\n$2\r\nok\r\n$11\r\nmaster-host\r\n$9\r\n127.0.0.1\r\n$11\r\nmaster-port\r\n$5\r\n\
    22003\r\n$14\r\nslave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$5\r\n10212\r\n$17\r\n\
    replica-announced\r\n$1\r\n1\r\n",
    b"\
    *2\r\n*28\r\n$4\r\nname\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n23003\r\n$5\r\nrunid\r\n$40\r\n96ab6dfd6cd5923b283869ac7c7aa0c8fc396b99\r\n\
    $5\r\nflags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n\
    1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n237\r\n$15\r\n\
    last-ping-reply\r\n$3\r\n237\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\n\
    last-hello-message\r\n$3\r\n234\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n\
    0\r\n*28\r\n$4\r\nname\r\n$40\r\n2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n\
    $4\r\nport\r\n$5\r\n23001\r\n$5\r\nrunid\r\n$40\r\n2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb\r\n$5\r\n\
    flags\r\n$8\r\nsentinel\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n\
    $14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n237\r\n$15\r\nlast-ping-reply\r\n\
    $3\r\n237\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\nlast-hello-message\r\n$3\r\n534\r\n\
    $12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n0\r\n",
];

/// The primary is down, and nobody was promoted yet.
pub(super) const PRIMARY_DOWN: [&[u8]; 4] = [
    b"\
    *2\r\n$9\r\n127.0.0.1\r\n$5\r\n22003\r\n",
    b"\
    *44\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n22003\r\n$5\r\n\
    runid\r\n$40\r\ndcd6a19272a9ce0b814467d14b9aec0199846712\r\n$5\r\nflags\r\n$33\r\n\
    s_down,o_down,master,disconnected\r\n$21\r\nlink-pending-commands\r\n$1\r\n1\r\n$13\r\nlink-refcount\r\n\
    $1\r\n1\r\n$14\r\nlast-ping-sent\r\n$4\r\n2057\r\n$18\r\nlast-ok-ping-reply\r\n$4\r\n2148\r\n$15\r\n\
    last-ping-reply\r\n$4\r\n2148\r\n$11\r\ns-down-time\r\n$3\r\n971\r\n$11\r\no-down-time\r\n$3\r\n870\r\n\
    $23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$4\r\n9885\r\n$13\r\n\
    role-reported\r\n$6\r\nmaster\r\n$18\r\nrole-reported-time\r\n$5\r\n47943\r\n$12\r\nconfig-epoch\r\n$1\r\n\
    1\r\n$10\r\nnum-slaves\r\n$1\r\n2\r\n$19\r\nnum-other-sentinels\r\n$1\r\n2\r\n$6\r\nquorum\r\n$1\r\n2\r\n\
    $16\r\nfailover-timeout\r\n$4\r\n5000\r\n$14\r\nparallel-syncs\r\n$1\r\n1\r\n",
    b"\
    *2\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22003\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22003\r\n$5\r\nrunid\r\n$0\r\n\r\n$5\r\nflags\r\n$18\r\nslave,disconnected\r\n$21\r\n\
    link-pending-commands\r\n$1\r\n2\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$3\r\n\
    351\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n351\r\n$15\r\nlast-ping-reply\r\n$3\r\n351\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$1\r\n0\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$3\r\n351\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\n\
    master-link-status\r\n$3\r\nerr\r\n$11\r\nmaster-host\r\n$1\r\n?\r\n$11\r\nmaster-port\r\n$1\r\n0\r\n$14\r\n\
    slave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$1\r\n0\r\n$17\r\nreplica-announced\r\n$1\r\n\
    1\r\n*42\r\n$4\r\nname\r\n$15\r\n127.0.0.1:22002\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n\
    22002\r\n$5\r\nrunid\r\n$0\r\n\r\n$5\r\nflags\r\n$18\r\nslave,disconnected\r\n$21\r\n\
    link-pending-commands\r\n$1\r\n2\r\n$13\r\nlink-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$3\r\n\
    351\r\n$18\r\nlast-ok-ping-reply\r\n$3\r\n351\r\n$15\r\nlast-ping-reply\r\n$3\r\n351\r\n$23\r\n\
    down-after-milliseconds\r\n$4\r\n1000\r\n$12\r\ninfo-refresh\r\n$1\r\n0\r\n$13\r\nrole-reported\r\n$5\r\n\
    slave\r\n$18\r\nrole-reported-time\r\n$3\r\n351\r\n$21\r\nmaster-link-down-time\r\n$1\r\n0\r\n$18\r\n\
    master-link-status\r\n$3\r\nerr\r\n$11\r\nmaster-host\r\n$1\r\n?\r\n$11\r\nmaster-port\r\n$1\r\n0\r\n$14\r\n\
    slave-priority\r\n$3\r\n100\r\n$17\r\nslave-repl-offset\r\n$1\r\n0\r\n$17\r\nreplica-announced\r\n$1\r\n\
    1\r\n",
    b"\
    *2\r\n*28\r\n$4\r\nname\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n$4\r\nport\r\n$5\r\n23002\r\n$5\r\nrunid\r\n$40\r\ne25ae40e8f0b650165ac8aae2ada329c9d5df38d\r\n\
    $5\r\nflags\r\n$20\r\nsentinel,master_down\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\n\
    link-refcount\r\n$1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$2\r\n23\r\n\
    $15\r\nlast-ping-reply\r\n$2\r\n23\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\n\
    last-hello-message\r\n$3\r\n851\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n\
    0\r\n*28\r\n$4\r\nname\r\n$40\r\n2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n\
    $4\r\nport\r\n$5\r\n23001\r\n$5\r\nrunid\r\n$40\r\n2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb\r\n$5\r\n\
    flags\r\n$20\r\nsentinel,master_down\r\n$21\r\nlink-pending-commands\r\n$1\r\n0\r\n$13\r\nlink-refcount\r\n\
    $1\r\n1\r\n$14\r\nlast-ping-sent\r\n$1\r\n0\r\n$18\r\nlast-ok-ping-reply\r\n$2\r\n23\r\n$15\r\n\
    last-ping-reply\r\n$2\r\n23\r\n$23\r\ndown-after-milliseconds\r\n$4\r\n1000\r\n$18\r\nlast-hello-message\r\n\
    $3\r\n180\r\n$12\r\nvoted-leader\r\n$1\r\n?\r\n$18\r\nvoted-leader-epoch\r\n$1\r\n0\r\n",
];
