pub mod wire { include!(concat!(env!("OUT_DIR"), "/driftlab.v1.rs")); }
