//! A TCP proxy that holds one direction of a stream, or cuts it, at a chosen moment.
//!
//! It reads nothing of what it carries, so it works on TLS too. What is held is neither
//! lost nor answered: both ends keep their connection, as behind a network that delivers
//! in one direction only. It runs in a member's network namespace, in front of one of its
//! ports, and takes its orders, one word a line, from its standard input.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the server.
    ToServer,
    /// From the server to whoever connected.
    ToClient,
}

impl Direction {
    const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::ToServer => "to-server",
            Self::ToClient => "to-client",
        }
    }
}

/// A proxy that runs in the background; it ends with this value.
#[derive(Debug)]
pub struct ProxyHandle {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
    /// Where it listens, e.g. `10.77.0.2:17514`.
    pub address: String,
}

impl ProxyHandle {
    pub(crate) fn start(mut command: Command, address: String) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("start the proxy")?;
        let answers = BufReader::new(child.stdout.take().context("the proxy has no output")?);
        let mut proxy = Self { child, answers, address };
        proxy.answer("listen")?;
        Ok(proxy)
    }

    /// Lets nothing more through in this direction, on streams that exist and on new ones.
    pub fn hold(&mut self, direction: Direction) -> anyhow::Result<()> {
        self.order(&format!("hold {}", direction.word()))
    }

    /// Lets through what was held, and what comes.
    pub fn pass(&mut self, direction: Direction) -> anyhow::Result<()> {
        self.order(&format!("pass {}", direction.word()))
    }

    /// Ends every stream at both ends. New ones are accepted.
    pub fn cut(&mut self) -> anyhow::Result<()> {
        self.order("cut")
    }

    fn order(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("the proxy has no input")?;
        writeln!(input, "{line}").context("the proxy has ended")?;
        self.answer(line)
    }

    fn answer(&mut self, order: &str) -> anyhow::Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer.trim() == "done", "the proxy answered `{}` to {order}", answer.trim());
        Ok(())
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the threads of a proxy share.
#[derive(Default)]
struct Gate {
    held: Mutex<[bool; 2]>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

impl Gate {
    fn set(&self, direction: Direction, held: bool) {
        lock(&self.held)[direction.index()] = held;
        self.changed.notify_all();
    }

    fn wait(&self, direction: Direction) {
        let mut held = lock(&self.held);
        while held[direction.index()] {
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn cut(&self) {
        for stream in lock(&self.streams).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Nothing that holds these locks can leave half a change behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker: forwards what comes to `listen` to `server` until its standard input ends.
pub fn work(listen: &str, server: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listen at {listen}"))?;
    let gate = Arc::new(Gate::default());
    {
        let (gate, server) = (Arc::clone(&gate), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Err(error) = forward(client, &server, &gate) {
                    eprintln!("proxy: {error:#}");
                }
            }
        });
    }
    println!("done");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let direction = if line.ends_with(Direction::ToServer.word()) {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        match line.split(' ').next() {
            Some("hold") => gate.set(direction, true),
            Some("pass") => gate.set(direction, false),
            Some("cut") => gate.cut(),
            _ => anyhow::bail!("unknown order `{line}`"),
        }
        println!("done");
    }
    Ok(())
}

fn forward(client: TcpStream, server: &str, gate: &Arc<Gate>) -> anyhow::Result<()> {
    let server = TcpStream::connect(server).with_context(|| format!("connect to {server}"))?;
    lock(&gate.streams).extend([client.try_clone()?, server.try_clone()?]);
    copy(client.try_clone()?, server.try_clone()?, Direction::ToServer, gate);
    copy(server, client, Direction::ToClient, gate);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, direction: Direction, gate: &Arc<Gate>) {
    let gate = Arc::clone(gate);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            gate.wait(direction);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // Its end is told as it would have been told: not while it is held.
        gate.wait(direction);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that answers each line with the same line, and a gate before it.
    fn echo_behind_a_gate() -> (Arc<Gate>, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (stream, _) = server.accept().unwrap();
            let mut back = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writeln!(back, "{line}").unwrap();
            }
        });
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let gate = Arc::new(Gate::default());
        forward(front.accept().unwrap().0, &address, &gate).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        (gate, client)
    }

    #[test]
    fn what_is_held_comes_late_and_whole() {
        let (gate, client) = echo_behind_a_gate();
        let (mut out, mut lines) = (client.try_clone().unwrap(), BufReader::new(client));
        let mut line = String::new();
        writeln!(out, "one").unwrap();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        gate.set(Direction::ToClient, true);
        writeln!(out, "two").unwrap();
        assert!(lines.read_line(&mut line).is_err(), "the answer is held: {line}");
        gate.set(Direction::ToClient, false);
        line.clear();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "two\n");
    }

    #[test]
    fn a_cut_is_an_end_for_both() {
        let (gate, client) = echo_behind_a_gate();
        gate.cut();
        let mut lines = BufReader::new(client);
        assert_eq!(lines.read_line(&mut String::new()).unwrap_or(0), 0);
    }
}
