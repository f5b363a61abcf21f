//! Ports that are listened on for other hosts' probes: one for each address, however many ask
//! at once. A drain asks for many guests together, and libvirt's range has only 64 ports.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

/// Port and end of each listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners(Arc<Mutex<BTreeMap<IpAddr, (u16, Instant)>>>);

impl Listeners {
    /// A port of the address that is listened on for so long from now on, and what listens,
    /// where it is new: to be spawned.
    pub(super) async fn listen(
        &self,
        address: IpAddr,
        ports: impl Iterator<Item = u16> + Send,
        wait: Duration,
    ) -> io::Result<(u16, Option<impl Future<Output = ()> + Send + 'static>)> {
        let until = Instant::now() + wait;
        if let Some((port, end)) = self.lock().get_mut(&address) {
            *end = until.max(*end);
            return Ok((*port, None));
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in ports {
            match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(listener) => {
                    // Two that asked at once may both have bound one; the later one's ends first.
                    self.lock().insert(address, (port, until));
                    return Ok((port, Some(self.clone().take_all(listener, address, port, until))));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection says all by being taken.
    async fn take_all(self, listener: TcpListener, at: IpAddr, port: u16, mut end: Instant) {
        loop {
            if timeout_at(end, listener.accept()).await.is_ok() {
                continue;
            }
            let mut all = self.lock();
            match all.get(&at) {
                Some((ours, later)) if *ours == port && *later > Instant::now() => end = *later,
                Some((ours, _)) if *ours == port => {
                    all.remove(&at);
                    // Still under the lock: nobody is told a port that is about to be shut.
                    drop(listener);
                    return;
                }
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, (u16, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_asks_meanwhile_shares_the_port_and_it_is_shut_at_the_end() {
        let listeners = Listeners::default();
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let free = std::net::TcpListener::bind((here, 0)).unwrap().local_addr().unwrap().port();
        let ports = || std::iter::once(free);
        let short = Duration::from_millis(100);
        let (port, task) = listeners.listen(here, ports(), short).await.unwrap();
        let task = tokio::spawn(task.expect("it is new"));
        let (again, none) = listeners.listen(here, ports(), 4 * short).await.unwrap();
        assert!(again == port && none.is_none());
        tokio::time::sleep(2 * short).await;
        TcpStream::connect((here, port)).await.expect("the longer wait counts");
        task.await.unwrap();
        assert!(TcpStream::connect((here, port)).await.is_err());
        assert!(listeners.listen(here, ports(), short).await.unwrap().1.is_some());
    }
}
