//! Facts that a replica reports on its standard output, one JSON object a line.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use serde::Serialize;

use crate::settings::Mode;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    #[serde(rename = "t")]
    pub time_ns: i64,
    #[serde(flatten)]
    pub fact: Fact,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "e", rename_all = "lowercase")]
pub enum Fact {
    Start {
        incarnation: u64,
        prefix: u64,
    },
    Accepted {
        #[serde(rename = "seq")]
        sequence: u64,
        token: String,
    },
    Released {
        #[serde(rename = "seq")]
        sequence: u64,
        token: String,
    },
    Applied {
        #[serde(rename = "seq")]
        sequence: u64,
        token: String,
    },
    Superseded {
        #[serde(rename = "seq")]
        sequence: u64,
        token: String,
    },
    Corrected {
        #[serde(rename = "seq")]
        sequence: u64,
        token: String,
    },
    Rejected {
        token: String,
    },
    Mode {
        mode: Mode,
    },
}

/// Where events go. Lines gather in memory only within one step of the owner; `flush` hands
/// them to the kernel, where they survive this process.
pub struct EventLog {
    output: Option<File>,
    lines: Vec<u8>,
}

impl EventLog {
    /// Opens standard output, unbuffered, or nothing when events are switched off.
    pub fn open(enabled: bool) -> io::Result<Self> {
        let output = if enabled {
            let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
            Some(File::from(descriptor))
        } else {
            None
        };
        Ok(Self {
            output,
            lines: Vec::new(),
        })
    }

    pub fn push(&mut self, event: &Event) -> io::Result<()> {
        if self.output.is_some() {
            serde_json::to_writer(&mut self.lines, event)?;
            self.lines.push(b'\n');
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(output) = &mut self.output
            && !self.lines.is_empty()
        {
            output.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }
}
