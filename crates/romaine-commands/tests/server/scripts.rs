use romaine_commands::{Executor, PubSubCommands, ScriptingCommands, commands};

use super::*;

#[test]
fn scripts_run_with_and_without_keys() {
    in_both_protocols(|link| {
        assert_eq!(link.eval("return 1", (), ()), Ok(1));
        assert_eq!(link.eval("return {KEYS[1], ARGV[1]}", "k", "v"), Ok(("k".to_owned(), "v".to_owned())));
        assert_eq!(link.eval_ro::<i64>("return #KEYS + #ARGV", ["a", "b"], [1, 2, 3]), Ok(5));
        let sha = link.script_load("return ARGV[1]").unwrap();
        assert_eq!(link.evalsha::<String>(&sha, (), "x"), Ok("x".to_owned()));
        assert_eq!(link.evalsha_ro::<String>(&sha, (), "x"), Ok("x".to_owned()));
        assert_eq!(link.script_exists([sha.as_str(), "none"]), Ok(vec![true, false]));
        assert!(link.script_kill().unwrap_err().starts_with("NOTBUSY"));
        link.issue(commands::script_flush().sync()).unwrap();
        assert!(link.evalsha::<String>(&sha, (), "x").unwrap_err().starts_with("NOSCRIPT"));
    });
}

#[test]
fn functions_are_loaded_listed_called_and_saved() {
    const CODE: &str = "#!lua name=lib\n\
        redis.register_function{function_name='f', callback=function(keys, args) return args[1] end, flags={'no-writes'}}";
    in_both_protocols(|link| {
        link.function_flush().unwrap();
        assert_eq!(link.function_load(CODE), Ok("lib".to_owned()));
        assert_eq!(link.issue(commands::function_load(CODE).replace()), Ok("lib".to_owned()));
        assert_eq!(link.fcall::<String>("f", (), "x"), Ok("x".to_owned()));
        assert_eq!(link.fcall_ro::<String>("f", "k", "x"), Ok("x".to_owned()));
        let libraries = link.issue(commands::function_list().withcode().libraryname("li*")).unwrap();
        assert_eq!((libraries[0].name.as_str(), libraries[0].engine.as_str()), ("lib", "LUA"));
        assert_eq!(libraries[0].functions[0].flags, ["no-writes"]);
        assert_eq!(libraries[0].code.as_deref(), Some(CODE));
        link.function_stats().unwrap();
        let dump = link.function_dump().unwrap();
        link.issue(commands::function_restore(&dump).flush()).unwrap();
        assert!(link.function_kill().unwrap_err().starts_with("NOTBUSY"));
        link.function_delete("lib").unwrap();
        assert_eq!(link.function_list(), Ok(vec![]));
    });
}

#[test]
fn publishing_says_who_heard_it() {
    in_both_protocols(|link| {
        assert_eq!(link.publish("c", "m"), Ok(0));
        assert_eq!(link.spublish("c", "m"), Ok(0));
        assert_eq!(link.pubsub_channels::<String>(), Ok(vec![]));
        assert_eq!(link.issue(commands::pubsub_channels::<String>().pattern("c*")), Ok(vec![]));
        assert_eq!(link.pubsub_numpat(), Ok(0));
        assert_eq!(link.pubsub_numsub::<String>(["a", "b"]), Ok(vec![("a".to_owned(), 0), ("b".to_owned(), 0)]));
        assert_eq!(link.pubsub_shardchannels::<String>(), Ok(vec![]));
        assert_eq!(link.pubsub_shardnumsub::<String>("a"), Ok(vec![("a".to_owned(), 0)]));
    });
}
