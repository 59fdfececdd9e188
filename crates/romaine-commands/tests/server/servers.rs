use std::collections::HashMap;

use romaine_commands::commands::{Answer, ClientKind, Switch};
use romaine_commands::replies::Role;
use romaine_commands::{ClusterCommands, ConnectionCommands, Executor, StringCommands, commands};
use romaine_resp::Value;

use super::*;

#[test]
fn a_connection_tells_of_itself() {
    in_both_protocols(|link| {
        link.ping().unwrap();
        assert_eq!(link.ping_message("x"), Ok("x".to_owned()));
        assert_eq!(link.echo("x"), Ok("x".to_owned()));
        assert_eq!(link.client_getname(), Ok(None));
        link.client_setname("worker").unwrap();
        assert_eq!(link.client_getname(), Ok(Some("worker".to_owned())));
        let id = link.client_id().unwrap();
        let entry = link.client_info().unwrap();
        assert_eq!((entry.id, entry.name.as_str(), entry.cmd.as_str()), (id, "worker", "client|info"));
        assert_eq!(entry.user.as_deref(), Some("default"));
        assert!(link.client_list().unwrap().iter().any(|entry| entry.id == id));
        assert_eq!(link.issue(commands::client_list().id([id, id + 1000])).unwrap().len(), 1);
        assert_eq!(link.issue(commands::client_list().type_(ClientKind::Replica)).unwrap().len(), 0);
        assert_eq!(link.client_kill_id(99_999), Ok(0));
        let none = commands::client_kill().addr("127.0.0.1:1").skipme(Answer::Yes);
        assert_eq!(link.issue(none), Ok(0));
        assert_eq!(link.client_unblock(id), Ok(false));
        link.client_no_evict(Switch::On).unwrap();
        link.issue(commands::client_pause(1).write()).unwrap();
        link.client_unpause().unwrap();
        if link.has("CLIENT SETINFO") {
            link.client_setinfo_lib_name("romaine").unwrap();
            link.client_setinfo_lib_ver("0.1.0").unwrap();
            assert_eq!(link.client_info().unwrap().lib_name.as_deref(), Some("romaine"));
        }
        if link.has("CLIENT NO-TOUCH") {
            link.client_no_touch(Switch::On).unwrap();
        }
    });
}

#[test]
fn tracking_is_switched_on_where_the_protocol_allows_it() {
    in_both_protocols(|link| {
        if link.hello.proto == 2 {
            assert_eq!(link.client_trackinginfo().unwrap().flags, ["off"]);
            assert_eq!(link.client_getredir(), Ok(-1));
            return;
        }
        link.issue(commands::client_tracking(Switch::On).optin().noloop()).unwrap();
        link.client_caching(Answer::Yes).unwrap();
        let tracking = link.client_trackinginfo().unwrap();
        assert!(tracking.flags.iter().any(|flag| flag == "optin"));
        assert_eq!((tracking.redirect, link.client_getredir()), (0, Ok(0)));
    });
}

#[test]
fn a_server_tells_of_itself() {
    in_both_protocols(|link| {
        link.set("k", "v").unwrap();
        let info = link.info().unwrap();
        assert!(info.server().unwrap().tcp_port.is_some());
        assert!(info.clients().unwrap().connected_clients.unwrap() >= 1);
        assert!(info.memory().unwrap().used_memory.unwrap() > 0);
        assert_eq!(info.persistence().unwrap().loading, Some(false));
        assert!(info.stats().unwrap().total_commands_processed.unwrap() > 0);
        assert!(info.cpu().unwrap().used_cpu_user.is_some());
        assert!(info.replication().unwrap().is_primary);
        assert_eq!(info.keyspace()[&0].keys, 1);
        let some = link.info_sections(["commandstats", "server"]).unwrap();
        assert!(some.commandstats()["set"].calls >= 1);
        assert_eq!(some.memory(), None);
        assert!(matches!(link.role(), Ok(Role::Primary { .. })));
        assert!(link.time().unwrap().seconds > 1_700_000_000);
        assert_eq!(link.dbsize(), Ok(1));
        assert!(link.lastsave().unwrap() > 0);
        assert!(link.lolwut().unwrap().contains("ver"));
        link.swapdb(0, 1).unwrap();
        assert_eq!(link.dbsize(), Ok(0));
        link.issue(commands::flushdb().sync()).unwrap();
        link.issue(commands::flushall().async_()).unwrap();
        assert_eq!(link.wait(0, 1), Ok(0));
        if link.has("WAITAOF") {
            assert_eq!(link.waitaof(0, 0, 1), Ok((0, 0)));
        }
    });
}

#[test]
fn the_configuration_is_asked_and_set() {
    in_both_protocols(|link| {
        let config = link.config_get(["maxmemory", "hz"]).unwrap();
        assert_eq!(config.get("hz").map(String::as_str), Some("10"));
        link.config_set([("hz", "20"), ("maxmemory-samples", "6")]).unwrap();
        assert_eq!(link.config_get("hz"), Ok(HashMap::from([("hz".to_owned(), "20".to_owned())])));
        link.config_set(("hz", 10)).unwrap();
        link.config_resetstat().unwrap();
        assert!(link.config_rewrite().is_err());
    });
}

#[test]
fn slow_commands_and_latencies_are_reported() {
    in_both_protocols(|link| {
        link.debug_sleep(0.005).unwrap();
        assert!(link.slowlog_len().unwrap() > 0);
        let entries = link.issue(commands::slowlog_get().count(-1)).unwrap();
        assert!(entries.iter().any(|entry| entry.args[0] == "DEBUG" && entry.microseconds >= 5000));
        assert!(entries.iter().all(|entry| entry.addr.starts_with("127.0.0.1:")));
        link.slowlog_reset().unwrap();
        let latest = link.latency_latest().unwrap();
        assert!(latest.iter().any(|event| event.name == "command" && event.max_ms >= 5), "{latest:?}");
        assert!(link.latency_history("command").unwrap()[0].milliseconds >= 1);
        assert!(link.latency_histogram("debug").unwrap().contains_key("debug"));
        link.latency_doctor().unwrap();
        link.latency_graph("command").unwrap();
        assert_eq!(link.latency_reset("command"), Ok(1));
    });
}

#[test]
fn memory_is_accounted_for() {
    in_both_protocols(|link| {
        link.set("k", "v").unwrap();
        assert!(link.memory_usage("k").unwrap().unwrap() > 0);
        assert_eq!(link.issue(commands::memory_usage("none").samples(0)), Ok(None));
        // A server takes its own measure ten times a second; one that was just started has not yet.
        let mut answers = (0..100_000).map(|_| link.memory_stats().unwrap());
        let stats = answers.find(|stats| stats.fragmentation > 0.0).unwrap();
        assert!(stats.total_allocated > 0);
        assert_eq!(stats.keys_count, 1);
        link.memory_doctor().unwrap();
        link.memory_malloc_stats().unwrap();
        link.memory_purge().unwrap();
    });
}

#[test]
fn users_are_made_and_refused() {
    in_both_protocols(|link| {
        link.acl_setuser("ann", ["on", ">secret", "~a:*", "~b:*", "&c", "+get"]).unwrap();
        let user = link.acl_getuser("ann").unwrap().unwrap();
        assert!(user.flags.iter().any(|flag| flag == "on"));
        assert_eq!(user.keys.0, ["~a:*", "~b:*"]);
        assert_eq!((user.passwords.len(), user.channels.0.len()), (1, 1));
        assert!(user.commands.contains("+get"));
        assert_eq!(link.acl_getuser("none"), Ok(None));
        assert_eq!(link.acl_users().unwrap().len(), 2);
        assert_eq!(link.acl_list().unwrap().len(), 2);
        assert_eq!(link.acl_whoami(), Ok("default".to_owned()));
        assert_eq!(link.acl_dryrun("ann", "get", "a:1"), Ok("OK".to_owned()));
        assert!(link.acl_dryrun("ann", "set", ["a:1", "v"]).unwrap().contains("no permissions"));
        assert!(link.acl_cat().unwrap().iter().any(|category| category == "string"));
        assert!(link.acl_cat_commands("string").unwrap().iter().any(|command| command == "get"));
        assert_eq!(link.issue(commands::acl_genpass().bits(64)).unwrap().len(), 16);
        link.acl_log_reset().unwrap();
        assert!(link.issue(romaine_commands::cmd::<()>("AUTH").arg("ann").arg("wrong")).is_err());
        let log = link.issue(commands::acl_log().count(5)).unwrap();
        assert_eq!((log[0].reason.as_str(), log[0].username.as_str(), log[0].count), ("auth", "ann", 1));
        assert_eq!(link.acl_deluser(["ann", "none"]), Ok(1));
        assert!(link.acl_load().is_err());
        assert!(link.acl_save().is_err());
    });
}

#[test]
fn commands_are_described() {
    in_both_protocols(|link| {
        assert!(link.command_count().unwrap() > 200);
        let infos = link.command_info(["get", "nosuch"]).unwrap();
        assert_eq!(infos[0].as_ref().map(|info| (info.arity, info.first_key)), Some((2, 1)));
        assert!(infos[1].is_none());
        assert!(link.command_docs(["get", "set"]).unwrap().contains_key("set"));
        assert_eq!(
            link.command_getkeys::<String>("mset", ["a", "1", "b", "2"]),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        let keys = link.command_getkeysandflags::<String>("get", "a").unwrap();
        assert_eq!(keys, [("a".to_owned(), vec!["RO".to_owned(), "access".to_owned()])]);
        let listed = link.issue(commands::command_list().pattern("hget*")).unwrap();
        assert!(listed.iter().any(|name| name == "hgetall"));
    });
}

/// Returns once no save or rewrite runs.
fn settled(link: &Link) {
    let is_busy = || {
        let state = link.info().unwrap().persistence().unwrap();
        state.rdb_bgsave_in_progress == Some(true) || state.aof_rewrite_in_progress == Some(true)
    };
    assert!((0..100_000).any(|_| !is_busy()), "a save of an empty server does not end");
}

#[test]
fn dumps_modules_and_replication_are_reachable() {
    in_both_protocols(|link| {
        link.save().unwrap();
        link.issue(commands::bgsave().schedule()).unwrap();
        settled(link);
        link.bgrewriteaof().unwrap();
        settled(link);
        assert_eq!(link.module_list().unwrap().len(), 0);
        assert!(link.module_load("/nosuch", ()).is_err());
        assert!(link.module_unload("nosuch").is_err());
        link.replicaof_no_one().unwrap();
        assert!(link.failover().is_err());
        assert!(link.cluster_info().unwrap_err().contains("cluster support disabled"));
        assert!(matches!(link.command_docs("get").unwrap().remove("get"), Some(Value::Map(_) | Value::Array(_))));
    });
}

#[test]
fn a_replica_says_whose_it_is() {
    let primary = Server::start();
    let replica = Server::start();
    for protocol in [2, 3] {
        let link = Link::open(replica.port, protocol);
        link.replicaof("127.0.0.1", i64::from(primary.port)).unwrap();
        let Role::Replica { host, port, .. } = link.role().unwrap() else { panic!("not a replica") };
        assert_eq!((host.as_str(), port), ("127.0.0.1", primary.port));
        let replication = link.info().unwrap().replication().unwrap();
        assert_eq!((replication.is_primary, replication.primary_port), (false, Some(primary.port)));
    }
}

#[test]
fn a_cluster_node_tells_of_itself() {
    let server = Server::start_with(&["--cluster-enabled", "yes"]);
    for protocol in [2, 3] {
        let link = Link::open(server.port, protocol);
        let id = link.cluster_myid().unwrap();
        assert_eq!(link.cluster_info().unwrap().get("cluster_known_nodes"), Some("1"));
        assert!(link.cluster_nodes().unwrap().starts_with(&id));
        assert_eq!(link.cluster_keyslot("foo"), Ok(12182));
        link.cluster_addslots([1, 2]).unwrap();
        link.cluster_addslotsrange([(10, 20), (30, 40)]).unwrap();
        assert_eq!(link.cluster_countkeysinslot(1), Ok(0));
        assert_eq!(link.cluster_getkeysinslot::<String>(1, 10), Ok(vec![]));
        assert!(matches!(link.cluster_slots(), Ok(Value::Array(ranges)) if ranges.len() == 3));
        assert!(matches!(link.cluster_shards(), Ok(Value::Array(shards)) if shards.len() == 1));
        assert_eq!(link.cluster_links().unwrap().len(), 0);
        assert_eq!(link.cluster_replicas(&id), Ok(vec![]));
        assert_eq!(link.cluster_count_failure_reports(&id), Ok(0));
        // Only the owner gives a slot away, only another takes it.
        assert!(link.cluster_setslot_migrating(5000, &id).is_err());
        assert!(link.cluster_setslot_importing(1, &id).is_err());
        link.cluster_setslot_node(1, &id).unwrap();
        link.cluster_setslot_stable(1).unwrap();
        link.cluster_delslots([1, 2]).unwrap();
        link.cluster_delslotsrange((10, 20)).unwrap();
        link.cluster_flushslots().unwrap();
        link.cluster_saveconfig().unwrap();
        link.cluster_bumpepoch().unwrap();
        assert!(link.cluster_set_config_epoch(1).is_err());
        assert!(link.cluster_forget(&id).is_err());
        assert!(link.cluster_replicate(&id).is_err());
        assert!(link.cluster_failover().is_err());
        assert!(link.cluster_meet("nowhere", 1).is_err());
        if link.has("CLUSTER MYSHARDID") {
            link.cluster_myshardid().unwrap();
        }
        link.issue(commands::cluster_reset().soft()).unwrap();
    }
}
