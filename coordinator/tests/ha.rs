//! Coordinators that share a Postgres, as processes: one leads, another takes over whether the first says goodbye or not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a reign lasts without being renewed.
const TTL: Duration = Duration::from_secs(2);

struct Coordinator {
    process: Child,
    url: String,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIVER_")) {
        command.env_remove(name);
    }
    command
}

impl Coordinator {
    fn start(folder: &Path, name: &str, database: &str) -> Self {
        let mut process = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--open", "--log", "info", "--database", database])
            .args(["--address", &format!("http://{name}"), "--dir"])
            .arg(folder)
            .env("QUIVER_LEADER_TTL", format!("{}ms", TTL.as_millis()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the coordinator ended");
        }
        let url = format!("http://{}", line.trim().rsplit(' ').next().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| println!("{line}")));
        Self { process, url }
    }
}

fn status(urls: &[&str]) -> Output {
    command().args(["status", "--coordinator", &urls.join(",")]).output().unwrap()
}

/// Asks until one of some coordinators answers; returns how long that took.
fn until_served(urls: &[&str]) -> Duration {
    let started = Instant::now();
    while !status(urls).status.success() {
        assert!(started.elapsed() < Duration::from_secs(30), "nobody leads");
    }
    started.elapsed()
}

/// Asks until a coordinator names another as its leader.
fn until_it_stands_by(url: &str, leader: &str) {
    let started = Instant::now();
    let names_it = |said: &Output| {
        let line = String::from_utf8_lossy(&said.stderr).into_owned();
        line.contains(&format!("stands by for the leader at {leader}"))
    };
    while !names_it(&status(&[url])) {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not stand by");
    }
}

/// What plain HTTP answers: the status and the body.
fn get(url: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// A peer that greets as HTTP/2 does and then says nothing more, like one whose machine has gone.
fn vanished_peer(url: &str) -> TcpStream {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    stream
}

#[test]
fn another_takes_over_whether_the_first_says_goodbye_or_not() {
    let Some(database) = tests::database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut first = Coordinator::start(folder.path(), "first", &database);
    until_served(&[&first.url]);
    let second = Coordinator::start(folder.path(), "second", &database);
    until_it_stands_by(&second.url, "http://first");
    let _vanished = vanished_peer(&second.url);
    assert!(status(&[&second.url, &first.url]).status.success(), "the one that leads is found");
    let tells = |url: &str, path| get(url, path).0;
    assert_eq!([tells(&first.url, "/readyz"), tells(&first.url, "/leaderz")], ["200", "200"]);
    assert_eq!([tells(&second.url, "/readyz"), tells(&second.url, "/leaderz")], ["200", "503"]);
    assert!(get(&first.url, "/metrics").1.contains("\nquiver_leader 1\n"));
    assert!(get(&second.url, "/metrics").1.contains("\nquiver_leader 0\n"));

    first.process.kill().unwrap();
    let took = until_served(&[&first.url, &second.url]);
    assert!(took < TTL + Duration::from_secs(10), "{took:?}");

    let third = Coordinator::start(folder.path(), "third", &database);
    let terminated = Command::new("kill").arg(second.process.id().to_string()).status().unwrap();
    assert!(terminated.success());
    until_served(&[&third.url]);
}
