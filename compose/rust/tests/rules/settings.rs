//! Settings that are taken, and settings that are refused by the name of what is wrong.

use driftlab_replica::settings::{Settings, Wire, parse_address};
use serde_json::{Value, json};

use crate::support::settings_value;

fn refusal(change: impl Fn(&mut Value)) -> String {
    let mut value = settings_value("leader");
    change(&mut value);
    let refused = Settings::parse(&value.to_string());
    refused.expect_err("wrong settings").to_string()
}

#[test]
fn good_settings_are_taken() {
    for name in ["leader", "f1", "f2"] {
        let settings = Settings::parse(&settings_value(name).to_string()).expect("valid");
        assert_eq!(settings.is_leader(), name == "leader");
        assert_eq!(settings.leader_index(), 0);
    }
}

#[test]
fn unknown_keys_are_refused_by_name_at_every_level() {
    assert!(refusal(|value| value["extra"] = json!(1)).contains("extra"));
    assert!(refusal(|value| value["policy"]["retries"] = json!(1)).contains("retries"));
    assert!(refusal(|value| value["queue"]["size"] = json!(1)).contains("size"));
    assert!(refusal(|value| value["listen"]["debug"] = json!(":1")).contains("debug"));
}

#[test]
fn missing_and_wrong_values_are_refused_by_name() {
    let missing = refusal(|value| {
        value.as_object_mut().expect("an object").remove("seed");
    });
    assert!(missing.contains("seed"));
    assert!(refusal(|value| value["schema"] = json!(2)).contains("schema"));
    assert!(refusal(|value| value["seed"] = json!(1_u64 << 63)).contains("seed"));
    assert!(refusal(|value| value["index"] = json!(1)).contains("index"));
    assert!(refusal(|value| value["mode"] = json!("eventual")).contains("eventual"));
    assert!(refusal(|value| value["leader"] = json!("f9")).contains("leader"));
    assert!(refusal(|value| value["queue"]["limit"] = json!(0)).contains("queue.limit"));
    assert!(refusal(|value| value["policy"]["attempts"] = json!(0)).contains("attempts"));
    assert!(refusal(|value| value["policy"]["cap_ns"] = json!(1_u64 << 62)).contains("cap_ns"));
    let open_ns =
        |open_ns: u64| refusal(|value| value["policy"]["breaker_open_ns"] = json!(open_ns));
    assert!(open_ns(0).contains("breaker_open_ns"));
    assert!(open_ns(1 << 62).contains("breaker_open_ns"));
    assert!(refusal(|value| value["replicas"] = json!(["leader", "leader"])).contains("replicas"));
    assert!(refusal(|value| value["peers"] = json!({"f1": "127.0.0.1:1"})).contains("f2"));
    assert!(refusal(|value| value["peers"]["f9"] = json!("127.0.0.1:1")).contains("f9"));
    assert!(refusal(|value| value["peers"]["f1"] = json!("host:1")).contains("peers.f1"));
    assert!(refusal(|value| value["listen"]["peer"] = json!("7000")).contains("listen.peer"));
}

#[test]
fn keys_that_are_left_out_have_their_defaults() {
    let settings = Settings::parse(&settings_value("leader").to_string()).expect("valid");
    assert_eq!(settings.wire, Wire::Framed);
    assert_eq!((settings.pool, settings.schema_version), (8, 1));
    assert_eq!(settings.channel.memory_bytes, 0);
    assert_eq!(settings.channel.bandwidth_bytes_per_s, 0);
    assert_eq!(settings.progress_every_ns, 0);
    assert_eq!(settings.collector().expect("valid"), None);
    let mut value = settings_value("leader");
    for (key, given) in [
        ("wire", json!("oneshot")),
        ("pool", json!(64)),
        (
            "channel",
            json!({"memory_bytes": 1, "bandwidth_bytes_per_s": 2}),
        ),
        ("progress_every_ns", json!(3)),
        ("schema_version", json!(2)),
        ("traces", json!("http://127.0.0.1:4318")),
    ] {
        value[key] = given;
    }
    let settings = Settings::parse(&value.to_string()).expect("valid");
    assert_eq!(settings.wire, Wire::Oneshot);
    assert_eq!((settings.pool, settings.schema_version), (64, 2));
    assert_eq!(settings.channel.memory_bytes, 1);
    assert_eq!(settings.channel.bandwidth_bytes_per_s, 2);
    assert_eq!(settings.progress_every_ns, 3);
    let collector = settings.collector().expect("valid").expect("one is named");
    assert_eq!(collector.to_string(), "127.0.0.1:4318");
}

#[test]
fn newer_keys_with_wrong_values_are_refused_by_name() {
    for (key, given) in [
        ("pool", json!(0)),
        ("pool", json!(65)),
        ("schema_version", json!(0)),
        ("schema_version", json!(3)),
        ("progress_every_ns", json!(1_u64 << 62)),
        ("traces", json!("127.0.0.1:4318")),
        ("traces", json!("http://collector:4318")),
    ] {
        assert!(
            refusal(|value| value[key] = given.clone()).contains(key),
            "{key} {given}"
        );
    }
    assert!(refusal(|value| value["wire"] = json!("udp")).contains("udp"));
    assert!(refusal(|value| value["channel"] = json!({"frames": 1})).contains("frames"));
    assert!(refusal(|value| value["channel"] = json!({"memory_bytes": -1})).contains("-1"));
}

#[test]
fn an_address_without_a_host_means_every_address() {
    let address = parse_address("listen.peer", ":7000").expect("an address");
    assert_eq!(address.to_string(), "0.0.0.0:7000");
    assert!(parse_address("listen.peer", "127.0.0.1").is_err());
}
