//! Starts replicas, speaks to them and takes them down again.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use bytes::Bytes;
use driftlab_replica::frames::{FrameReader, encode_frame};
use driftlab_replica::wire::{Envelope, Kind, Update};
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub const REPLICA: &str = env!("CARGO_BIN_EXE_replica");
const PATIENCE: Duration = Duration::from_secs(10);

/// A port below those that the kernel hands to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 9000) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start + step) % 9000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A group of replicas on one host, each of which has a folder and three ports.
pub struct Group {
    folder: PathBuf,
    names: Vec<String>,
    ports: Vec<[u16; 3]>,
}

impl Group {
    pub fn new(test: &str, names: &[&str]) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("an old folder goes");
        }
        fs::create_dir_all(&folder).expect("a new folder");
        Self {
            folder,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ports: names
                .iter()
                .map(|_| [free_port(), free_port(), free_port()])
                .collect(),
        }
    }

    /// The port on which a replica hears its peers.
    pub fn peer_port(&self, index: usize) -> u16 {
        self.ports[index][0]
    }

    pub fn settings(&self, index: usize) -> Value {
        let peers = self.names.iter().enumerate().filter(|(other, _)| {
            let between = index == 0 || *other == 0;
            *other != index && between
        });
        let peers: Value = peers
            .map(|(other, name)| {
                (
                    name.clone(),
                    json!(format!("127.0.0.1:{}", self.ports[other][0])),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let [peer, client, control] = self.ports[index].map(|port| format!("127.0.0.1:{port}"));
        json!({
            "schema": 1, "run_id": "test", "name": self.names[index], "index": index,
            "leader": self.names[0], "replicas": self.names, "peers": peers, "seed": 7,
            "mode": "sync", "bound": 16, "ordering": "sequence",
            "policy": {"timeout_ns": 100_000_000, "attempts": 4, "backoff": "exponential",
                       "base_ns": 20_000_000, "cap_ns": 200_000_000, "jitter": "full",
                       "budget_ppm": -1},
            "queue": {"limit": 10_000, "overflow": "reject"},
            "reconcile_every_ns": 100_000_000, "reconcile_batch": 64,
            "data_dir": self.folder.join(&self.names[index]), "events": true,
            "log_level": "warn",
            "listen": {"peer": peer, "client": client, "control": control},
        })
    }

    pub fn write_settings(&self, index: usize, settings: &Value) -> PathBuf {
        let path = self.folder.join(format!("{index}.json"));
        fs::write(&path, settings.to_string()).expect("settings are written");
        path
    }

    pub fn start(&self, index: usize) -> Replica {
        self.start_with(index, &self.settings(index))
    }

    pub fn start_with(&self, index: usize, settings: &Value) -> Replica {
        let path = self.write_settings(index, settings);
        let mut child = Command::new(REPLICA)
            .arg("--settings")
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a replica starts");
        let output = child.stdout.take().expect("its output is a pipe");
        let errors = child.stderr.take().expect("its log is a pipe");
        let [_, client, control] = self.ports[index];
        let events = Lines::read(output);
        let logs = Lines::read(errors);
        let replica = Replica {
            child,
            events,
            logs,
            client_port: client,
            control_port: control,
            settings_path: path,
        };
        wait_for("the replica serves", || replica.is_healthy());
        replica
    }
}

/// The lines of a pipe, read as they come.
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.lock().expect("not poisoned").push(line);
            }
        });
        Self {
            lines,
            reader: Some(reader),
        }
    }

    /// All there will ever be; only for a process that has ended.
    pub fn read_to_end(&mut self) -> Vec<Value> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the pipe is read");
        }
        let lines = self.lines.lock().expect("not poisoned");
        let values = lines.iter().map(|line| serde_json::from_str(line));
        values
            .collect::<Result<Vec<Value>, _>>()
            .expect("every line is JSON")
    }
}

pub struct Replica {
    child: Child,
    pub events: Lines,
    pub logs: Lines,
    client_port: u16,
    control_port: u16,
    pub settings_path: PathBuf,
}

impl Replica {
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Asks it to stop and returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it is there");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(2), "it does not stop");
            sleep(Duration::from_millis(5));
        }
    }

    /// Status line and body of a request to the control interface.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control_port)).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.lines().next()?;
        Some((status.to_owned(), body.to_owned()))
    }

    pub fn is_healthy(&self) -> bool {
        let answer = self.request("GET", "/healthz", "");
        answer.is_some_and(|(status, _)| status == "HTTP/1.1 200 OK")
    }

    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.request("GET", path, "").expect("an answer");
        assert_eq!(status, "HTTP/1.1 200 OK");
        body
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.get("/state")).expect("the state is JSON")
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.state()["counters"][name].as_u64().expect("a counter")
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.client_port)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that speaks frames.
pub struct Connection {
    pub stream: TcpStream,
    reader: FrameReader,
}

impl Connection {
    pub fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        Self::of(stream)
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self::of_patient(stream)
    }

    /// Waits as long as the stream is set to.
    pub fn of_patient(stream: TcpStream) -> Self {
        Self {
            stream,
            reader: FrameReader::default(),
        }
    }

    pub fn send(&mut self, envelope: &Envelope) {
        self.stream
            .write_all(&encode_frame(envelope))
            .expect("the connection stands");
    }

    /// The next envelope, or `None` when the other side has closed.
    pub fn receive(&mut self) -> Option<Envelope> {
        let mut piece = [0; 4096];
        loop {
            if let Some(body) = self.reader.next_body().expect("short frames") {
                return Some(Envelope::decode(body).expect("an envelope"));
            }
            let count = self.stream.read(&mut piece).ok()?;
            if count == 0 {
                return None;
            }
            self.reader.buffer_mut().extend_from_slice(&piece[..count]);
        }
    }

    pub fn ask(&mut self, envelope: &Envelope) -> Envelope {
        self.send(envelope);
        self.receive().expect("an answer")
    }
}

fn payload(key: &str, value: &str) -> Bytes {
    let update = Update {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        revision: 1,
    };
    update.encode_to_vec().into()
}

pub fn write(key: &str, token: &str) -> Envelope {
    Envelope {
        schema_version: 1,
        kind: Kind::Write.into(),
        correlation_id: format!("c-{token}"),
        idempotency_token: token.to_owned(),
        payload: payload(key, token),
        ..Envelope::default()
    }
}

pub fn update(sequence: u64) -> Envelope {
    Envelope {
        schema_version: 1,
        kind: Kind::Update.into(),
        source: "leader".to_owned(),
        sequence,
        origin: "leader".to_owned(),
        idempotency_token: format!("t-{sequence}"),
        attempt: 1,
        payload: payload("k", "v"),
        ..Envelope::default()
    }
}
