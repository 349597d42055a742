//! Settings that are taken, and settings that are refused by the name of what is wrong.

use driftlab_replica::settings::{Settings, parse_address};
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
fn an_address_without_a_host_means_every_address() {
    let address = parse_address("listen.peer", ":7000").expect("an address");
    assert_eq!(address.to_string(), "0.0.0.0:7000");
    assert!(parse_address("listen.peer", "127.0.0.1").is_err());
}
