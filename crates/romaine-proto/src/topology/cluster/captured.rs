//! What the nodes of a real cluster (Redis 7.0.15, three primaries with a replica each) said: CLUSTER SLOTS and CLUSTER
//! NODES, as they came.

/// All six are well.
pub(super) const HEALTHY: [&[u8]; 2] = [
    b"\
    *3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:21001\r\n$40\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21004\r\n$40\r\n\
    6537ed5745033d14d25493d70640305de8f504c2\r\n*0\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*0\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*0\r\n",
    b"\
    $751\r\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336260594 2 connected\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 master - 0 1795336260695 1 connected 0-5460\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 myself,master - 0 1795336260000 2 connected 5461-10922\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 master - 0 1795336260594 3 connected 10923-16383\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 slave 32eece4fc4366a864885f43eeb92b87ea5d5d6d5 0 1795336260594 1 connected\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336260695 3 connected\n\
    \r\n",
];

/// The first primary is frozen; one node suspects it (`fail?`).
pub(super) const SUSPECTED: [&[u8]; 2] = [
    b"\
    *3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:21001\r\n$40\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21004\r\n$40\r\n\
    6537ed5745033d14d25493d70640305de8f504c2\r\n*0\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*0\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*0\r\n",
    b"\
    $769\r\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336262605 2 connected\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 master,fail? - 1795336261700 1795336261198 1 connected 0-5460\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 myself,master - 0 1795336262000 2 connected 5461-10922\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 master - 0 1795336262705 3 connected 10923-16383\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 slave 32eece4fc4366a864885f43eeb92b87ea5d5d6d5 0 1795336262605 1 connected\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336262605 3 connected\n\
    \r\n",
];

/// Its replica was promoted; the frozen one is a primary without slots that has failed.
pub(super) const FAILED_OVER: [&[u8]; 2] = [
    b"\
    *3\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:21004\r\n$40\r\n\
    6537ed5745033d14d25493d70640305de8f504c2\r\n*0\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*0\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*0\r\n",
    b"\
    $730\r\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336266122 2 connected\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 master,fail - 1795336261700 1795336261198 1 connected\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 myself,master - 0 1795336265000 2 connected 5461-10922\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 master - 0 1795336265721 3 connected 10923-16383\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 master - 0 1795336266000 7 connected 0-5460\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336266022 3 connected\n\
    \r\n",
];

/// The same of another node, in RESP3.
pub(super) const FAILED_OVER_3: [&[u8]; 2] = [
    b"\
    *3\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:21004\r\n$40\r\n\
    6537ed5745033d14d25493d70640305de8f504c2\r\n%0\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n%0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n%0\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n%0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n%0\r\n",
    b"\
    =734\r\n\
    txt:32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 master,fail - 1795336261700 1795336261197 1 connected\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336267529 3 connected\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 master - 0 1795336267529 7 connected 0-5460\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 myself,master - 0 1795336267000 3 connected 10923-16383\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 master - 0 1795336267228 2 connected 5461-10922\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336267529 2 connected\n\
    \r\n",
];

/// The former primary is back as a replica, and is itself asked.
pub(super) const RETURNED: [&[u8]; 2] = [
    b"\
    *3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:21004\r\n$40\r\n\
    6537ed5745033d14d25493d70640305de8f504c2\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21001\r\n$40\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5\r\n*0\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*0\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n\
    :21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n*0\r\n*4\r\n$9\r\n127.0.0.1\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*0\r\n",
    b"\
    $751\r\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336272554 3 connected\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336272253 2 connected\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 master - 0 1795336272554 7 connected 0-5460\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 master - 0 1795336272554 3 connected 10923-16383\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 myself,slave 6537ed5745033d14d25493d70640305de8f504c2 0 1795336272000 7 connected\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 master - 0 1795336272152 2 connected 5461-10922\n\
    \r\n",
];

/// cluster-preferred-endpoint-type unknown-endpoint: null endpoints.
pub(super) const NO_ENDPOINT: [&[u8]; 2] = [
    b"\
    *3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$-1\r\n:21004\r\n$40\r\n6537ed5745033d14d25493d70640305de8f504c2\r\n*2\r\n\
    $2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n$-1\r\n:21001\r\n$40\r\n32eece4fc4366a864885f43eeb92b87ea5d5d6d5\r\n\
    *2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n:5461\r\n:10922\r\n*4\r\n$-1\r\n:21002\r\n$40\r\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n$-1\r\n:21005\r\n\
    $40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n:10923\r\n\
    :16383\r\n*4\r\n$-1\r\n:21003\r\n$40\r\n91089795f0e020a6511db1be9303347c076bc8a7\r\n*2\r\n$2\r\nip\r\n$9\r\n\
    127.0.0.1\r\n*4\r\n$-1\r\n:21006\r\n$40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*2\r\n$2\r\nip\r\n\
    $9\r\n127.0.0.1\r\n",
    b"\
    $751\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 slave 6537ed5745033d14d25493d70640305de8f504c2 0 1795336273763 7 connected\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336274065 3 connected\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 master - 0 1795336274065 7 connected 0-5460\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 myself,master - 0 1795336274000 3 connected 10923-16383\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002 master - 0 1795336274065 2 connected 5461-10922\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336273763 2 connected\n\
    \r\n",
];

/// cluster-preferred-endpoint-type hostname, where one node has a name: the others are `?`.
pub(super) const NO_HOSTNAME: [&[u8]; 2] = [
    b"\
    *3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$1\r\n?\r\n:21004\r\n$40\r\n6537ed5745033d14d25493d70640305de8f504c2\r\n\
    *2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n$1\r\n?\r\n:21001\r\n$40\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n:5461\r\n:10922\r\n\
    *4\r\n$11\r\nnode2.cache\r\n:21002\r\n$40\r\ne0d9cb9b65035d2cd542ae7b90944a644340ec31\r\n*2\r\n$2\r\nip\r\n\
    $9\r\n127.0.0.1\r\n*4\r\n$1\r\n?\r\n:21005\r\n$40\r\n255ec18d4faf8fb3b27bfbd74ecabd088b17f39c\r\n*2\r\n\
    $2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n:10923\r\n:16383\r\n*4\r\n$1\r\n?\r\n:21003\r\n$40\r\n\
    91089795f0e020a6511db1be9303347c076bc8a7\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n$1\r\n?\r\n:21006\r\n\
    $40\r\n1e4e927fe98f2e1f222de1c0fb3cb361320df4d6\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n",
    b"\
    $763\r\n\
    32eece4fc4366a864885f43eeb92b87ea5d5d6d5 127.0.0.1:21001@31001 slave 6537ed5745033d14d25493d70640305de8f504c2 0 1795336278786 7 connected\n\
    1e4e927fe98f2e1f222de1c0fb3cb361320df4d6 127.0.0.1:21006@31006 slave 91089795f0e020a6511db1be9303347c076bc8a7 0 1795336279087 3 connected\n\
    6537ed5745033d14d25493d70640305de8f504c2 127.0.0.1:21004@31004 master - 0 1795336279087 7 connected 0-5460\n\
    91089795f0e020a6511db1be9303347c076bc8a7 127.0.0.1:21003@31003 myself,master - 0 1795336279000 3 connected 10923-16383\n\
    e0d9cb9b65035d2cd542ae7b90944a644340ec31 127.0.0.1:21002@31002,node2.cache master - 0 1795336279087 2 connected 5461-10922\n\
    255ec18d4faf8fb3b27bfbd74ecabd088b17f39c 127.0.0.1:21005@31005 slave e0d9cb9b65035d2cd542ae7b90944a644340ec31 0 1795336279087 2 connected\n\
    \r\n",
];
