//! Several processes that train one model: each takes its share of a batch, and sums go around.
//!
//! * [`Place`]: which of them this process is, by the variables of torchrun, of Slurm, or of our own launcher.
//! * [`Group`]: this process among the others. [`Group::alone`] is one process without others; every function is the identity
//!   there, so that a training has one path.
//!
//! The engine is libtorch's own, c10d: a store over TCP where the ranks find each other, and gloo, which sums. Tensors of a GPU
//! go through the memory of the processor. **A group's functions are collective**: every rank calls the same ones in the same
//! order. Nothing waits for longer than the place's timeout.
//!
//! Sums are repeatable: gloo's ring adds in an order that the number of ranks and the size of a bucket fix, and every rank gets
//! the same bits. Another number of ranks gives other last digits.

mod place;

pub use place::{Place, TIMEOUT, VARIABLES};

use crate::shim::ranks::{Failure, Process, Store, library_version};
use crate::{LIBTORCH_VERSION, Result as TorchResult};
use std::cell::Cell;
use std::marker::PhantomData;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tch::{Device, Tensor, no_grad};

/// Bytes of one message of [`Group::sum`], as in torch's DistributedDataParallel. It fixes the order of summation.
pub const BUCKET: usize = 25 * 1000 * 1000;
/// How much longer than libtorch itself a caller waits for it to join. Its waits between attempts to connect grow, so that the last one
/// may end seconds after its time.
const GRACE: Duration = Duration::from_secs(10);
/// Ranks that a message lists by name.
const LISTED: usize = 8;

/// What can go wrong between ranks. Each is one line: which rank, on which host, what it waited for, and what to check. After
/// [`RanksError::Timeout`] and [`RanksError::Lost`] a group is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RanksError {
    /// The launcher's variables are wrong: which, and who sets it.
    #[error("{0}")]
    Environment(String),
    /// Not all ranks came together.
    #[error("{0}")]
    Join(String),
    /// Another rank did not answer in time.
    #[error("{0}")]
    Timeout(String),
    /// Another rank is gone.
    #[error("{0}")]
    Lost(String),
    /// The ranks do not do the same.
    #[error("{0}")]
    Differ(String),
    /// libtorch refused.
    #[error("{0}")]
    Torch(String),
}

impl From<crate::TorchError> for RanksError {
    fn from(error: crate::TorchError) -> Self {
        Self::Torch(error.to_string())
    }
}

impl From<tch::TchError> for RanksError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(format!("libtorch: {error}"))
    }
}

type Result<T> = std::result::Result<T, RanksError>;

/// This process among its ranks. Neither `Send` nor `Sync`: one thread owns it, so that calls have one order.
pub struct Group {
    peers: Option<Peers>,
    _one_thread: PhantomData<*const ()>,
}

struct Peers {
    place: Place,
    /// The machine of every rank.
    hosts: Vec<String>,
    process: Process,
    /// Why it is of no use any more.
    broken: Cell<bool>,
    waited: Cell<Duration>,
    /// That of a launcher, which outlives the group.
    store: Option<Store>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Who comes to the store after this is another training of this name, and not a second process with this number.
        if let Some(store) = self.store.as_ref().filter(|_| !self.broken.get()) {
            let _ = store.set(&left(self.place.rank), "1");
        }
    }
}

impl Group {
    /// One process without others.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            peers: None,
            _one_thread: PhantomData,
        }
    }

    /// Waits for the other ranks and connects to them. `name`, the model's, tells groups apart that meet in one store of a launcher. Groups of one
    /// name may meet there one after the other, each after the one before it was dropped. In a world of one this is [`Group::alone`].
    ///
    /// # Errors
    /// [`RanksError::Join`] with the ranks that did not come, after at most [`Place::join`] and ten seconds; another libtorch
    /// than this program was built for.
    pub fn open(place: &Place, name: &str) -> Result<Self> {
        if place.world <= 1 {
            return Ok(Self::alone());
        }
        same_library(LIBTORCH_VERSION, &library_version())?;
        let (send, receive) = mpsc::channel();
        let (own, name) = (place.clone(), name.to_owned());
        // A thread of its own: a stranger who holds the port and never answers would keep libtorch waiting for ever.
        let joining = std::thread::Builder::new().name("ranks".into());
        joining
            .spawn(move || send.send(join(&own, &name)))
            .map_err(|e| RanksError::Torch(format!("cannot start a thread: {e}")))?;
        let (process, hosts, store) = receive
            .recv_timeout(place.join + GRACE)
            .unwrap_or_else(|_| {
                Err(RanksError::Join(format!(
                    "{} waited {} for an answer from {}: is that rank 0's address and port (MASTER_ADDR, MASTER_PORT), \
                     and does another program listen there?",
                    me(place, &host()),
                    seconds(place.join),
                    place.store()
                )))
            })?;
        Ok(Self {
            peers: Some(Peers {
                place: place.clone(),
                hosts,
                process,
                broken: Cell::new(false),
                waited: Cell::new(Duration::ZERO),
                store,
            }),
            _one_thread: PhantomData,
        })
    }

    /// This process's number, from 0 on.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.peers.as_ref().map_or(0, |p| p.place.rank)
    }

    /// How many ranks there are.
    #[must_use]
    pub fn world(&self) -> usize {
        self.peers.as_ref().map_or(1, |p| p.place.world)
    }

    /// Is this rank 0, the one that writes files and tells people?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Are there other ranks?
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.peers.is_none()
    }

    /// Time spent in waiting for others and in sending since the group was opened.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.peers
            .as_ref()
            .map_or(Duration::ZERO, |p| p.waited.get())
    }

    /// The group in words: `8 ranks on 2 machines (Slurm job 123)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Some(peers) = &self.peers else {
            return "1 process".into();
        };
        let machines: std::collections::BTreeSet<&String> = peers.hosts.iter().collect();
        let machines = match machines.len() {
            1 => "1 machine".into(),
            n => format!("{n} machines"),
        };
        let Place {
            world, launcher, ..
        } = &peers.place;
        format!("{world} ranks on {machines} ({launcher})")
    }

    /// The part of `n` things that is this rank's: together all, none twice, sizes that differ by one at most.
    #[must_use]
    pub fn share(&self, n: usize) -> Range<usize> {
        self.share_of(n, self.rank())
    }

    /// The part of `n` things that is another rank's.
    #[must_use]
    pub fn share_of(&self, n: usize, rank: usize) -> Range<usize> {
        share(n, rank, self.world())
    }

    /// Sums each tensor over the ranks, in place: in buckets of [`BUCKET`] bytes, in the order of the list.
    ///
    /// # Errors
    /// [`RanksError::Timeout`], [`RanksError::Lost`], what libtorch refuses.
    pub fn sum(&self, tensors: &[Tensor]) -> Result<()> {
        self.flat(tensors, "the sum of the gradients", |process, buckets| {
            process.sum(buckets)
        })
    }

    /// Gives every rank the tensors of rank `from`, in place.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn broadcast(&self, tensors: &[Tensor], from: usize) -> Result<()> {
        let what = format!("the weights of rank {from}");
        self.flat(tensors, &what, |process, buckets| {
            buckets.iter().try_for_each(|b| process.broadcast(b, from))
        })
    }

    /// Sums numbers over the ranks, in place, in f64.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let Some(peers) = &self.peers else {
            return Ok(());
        };
        let (numbers, n) = ([Tensor::from_slice(values)], values.len());
        peers.call("the others' numbers", || peers.process.sum(&numbers))?;
        numbers[0].f_copy_data(values, n)?;
        Ok(())
    }

    /// Does any rank say yes?
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn any(&self, own: bool) -> Result<bool> {
        let mut says = [f64::from(u8::from(own))];
        self.sum_f64(&mut says)?;
        Ok(says[0] > 0.0)
    }

    /// The number of every rank, by rank.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn gather(&self, own: u64) -> Result<Vec<u64>> {
        let Some(peers) = &self.peers else {
            return Ok(vec![own]);
        };
        let mut all = vec![0i64; peers.place.world];
        if let Some(mine) = all.get_mut(peers.place.rank) {
            *mine = own.cast_signed();
        }
        let numbers = [Tensor::from_slice(&all)];
        peers.call("the others' numbers", || peers.process.sum(&numbers))?;
        numbers[0].f_copy_data(&mut all, peers.place.world)?;
        Ok(all.into_iter().map(i64::cast_unsigned).collect())
    }

    /// Has every rank the same number, a hash for example?
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn same(&self, own: u64) -> Result<bool> {
        Ok(self.gather(own)?.iter().all(|&other| other == own))
    }

    /// Refuses ranks that do not have the same hash of `what`; `check` says what to look at.
    ///
    /// # Errors
    /// [`RanksError::Differ`], on every rank and with the first one that has another than rank 0; as [`Group::sum`].
    pub fn agree(&self, what: &str, hash: u64, check: &str) -> Result<()> {
        let all = self.gather(hash)?;
        let (Some(peers), Some(&first)) = (&self.peers, all.first()) else {
            return Ok(());
        };
        match all.iter().position(|&other| other != first) {
            None => Ok(()),
            Some(other) => Err(RanksError::Differ(format!(
                "{} on {} and rank 0 on {} differ in {what}: {check}",
                rank_of(other, peers.place.world),
                peers.host(other),
                peers.host(0)
            ))),
        }
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn barrier(&self) -> Result<()> {
        self.sum_f64(&mut [0.0])
    }

    /// Lays tensors out in buckets, has `send` done with these, and puts them back.
    fn flat(
        &self,
        tensors: &[Tensor],
        what: &str,
        send: impl Fn(&Process, &[Tensor]) -> std::result::Result<(), Failure>,
    ) -> Result<()> {
        let Some(peers) = &self.peers else {
            return Ok(());
        };
        no_grad(|| {
            let groups = buckets(tensors);
            let flat = groups
                .iter()
                .map(|group| flattened(&tensors[group.clone()]))
                .collect::<TorchResult<Vec<_>>>()?;
            peers.call(what, || send(&peers.process, &flat))?;
            for (group, flat) in groups.into_iter().zip(&flat) {
                let mut at = 0;
                for tensor in &tensors[group] {
                    let n = tensor.numel() as i64;
                    let part = flat.f_narrow(0, at, n)?.f_reshape(tensor.size())?;
                    tensor.shallow_clone().f_copy_(&part)?;
                    at += n;
                }
            }
            Ok(())
        })
    }
}

impl Peers {
    /// Calls libtorch, and says in one line why it failed.
    fn call(
        &self,
        what: &str,
        work: impl FnOnce() -> std::result::Result<(), Failure>,
    ) -> Result<()> {
        let me = me(&self.place, self.host(self.place.rank));
        if self.broken.get() {
            return Err(RanksError::Lost(format!(
                "{me}: its connections to the others broke before"
            )));
        }
        let began = Instant::now();
        let ended = work();
        let took = began.elapsed();
        self.waited.set(self.waited.get() + took);
        let Err(failure) = ended else { return Ok(()) };
        self.broken.set(true);
        let (others, took) = (self.others(), seconds(took));
        Err(match failure {
            Failure::Timeout(_) => RanksError::Timeout(format!(
                "{me} waited {took} for {what}, and {others} did not answer: does one hang, is it stopped, is the network \
                 between the machines up? {TIMEOUT} sets how many seconds a rank waits"
            )),
            Failure::Lost(detail) => RanksError::Lost(format!(
                "{me} waited {took} for {what}, and a rank is gone ({others}; {detail}): the one that failed first says why \
                 in its own output"
            )),
            Failure::InUse(text) | Failure::Other(text) => {
                RanksError::Torch(format!("{me}, in {what}: {text}"))
            }
        })
    }

    fn host(&self, rank: usize) -> &str {
        self.hosts.get(rank).map_or("?", String::as_str)
    }

    fn others(&self) -> String {
        let own = self.place.rank;
        let others = (0..self.place.world).filter(|&rank| rank != own);
        list(others.map(|rank| format!("rank {rank} on {}", self.host(rank))))
    }
}

/// Some of these, and how many more there are.
fn list(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.len() {
        n if n > LISTED => format!("{} and {} more", all[..LISTED].join(", "), n - LISTED),
        _ => all.join(", "),
    }
}

fn rank_of(rank: usize, world: usize) -> String {
    format!("rank {rank} of {world}")
}

fn me(place: &Place, host: &str) -> String {
    format!("{} on {host}", rank_of(place.rank, place.world))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn share(n: usize, rank: usize, world: usize) -> Range<usize> {
    let end = |rank: usize| (n as u128 * rank as u128 / world.max(1) as u128) as usize;
    end(rank)..end(rank + 1)
}

/// Neighbours of one kind on one device, up to [`BUCKET`] bytes together.
fn buckets(tensors: &[Tensor]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    let alike = |a: &Tensor, b: &Tensor| a.kind() == b.kind() && a.device() == b.device();
    for (index, tensor) in tensors.iter().enumerate() {
        let own = tensor.numel() * tensor.kind().elt_size_in_bytes();
        match all.last_mut() {
            Some(last) if bytes + own <= BUCKET && alike(&tensors[last.start], tensor) => {
                last.end = index + 1;
                bytes += own;
            }
            _ => {
                all.push(index..index + 1);
                bytes = own;
            }
        }
    }
    all
}

/// All elements one after the other, in the memory of the processor.
fn flattened(tensors: &[Tensor]) -> TorchResult<Tensor> {
    let flat = tensors
        .iter()
        .map(|t| t.f_reshape([-1]))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    // A copy even of one: it is written to.
    Ok(Tensor::f_cat(&flat, 0)?.f_to_device(Device::Cpu)?)
}

/// c10d's classes change their layout with every minor version of libtorch.
fn same_library(built: &str, loaded: &str) -> Result<()> {
    let minor = |version: &str| {
        let mut parts = version.split('.').map(str::to_owned);
        (parts.next(), parts.next())
    };
    if minor(built) == minor(loaded) {
        return Ok(());
    }
    Err(RanksError::Torch(format!(
        "this program was built for libtorch {built} and has loaded {}: several ranks need the one it was built for; see \
         LD_LIBRARY_PATH and LIBTORCH, or build it again",
        if loaded.is_empty() {
            "one that does not say its version"
        } else {
            loaded
        }
    )))
}

/// What a rank tells the others of itself: machine, the address it is reached at, at which it reached the store, and how many
/// ranks it was told of.
struct Card {
    host: String,
    own: IpAddr,
    store: IpAddr,
    world: usize,
}

impl Card {
    fn write(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}",
            self.host, self.own, self.store, self.world
        )
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        Some(Self {
            host: lines.next()?.to_owned(),
            own: lines.next()?.parse().ok()?,
            store: lines.next()?.parse().ok()?,
            world: lines.next()?.parse().ok()?,
        })
    }
}

/// The key by which a rank says that it has left its group.
fn left(rank: usize) -> String {
    format!("left/{rank}")
}

/// Meets the others in the store, and connects to each. Gives their machines, and the store if it is a launcher's.
fn join(place: &Place, name: &str) -> Result<(Process, Vec<String>, Option<Store>)> {
    let (began, host) = (Instant::now(), host());
    let me = me(place, &host);
    let at = place.store();
    let failed = |failure: Failure| {
        let waited = seconds(began.elapsed());
        RanksError::Join(match failure {
            Failure::InUse(_) => format!(
                "{me} cannot open the ranks' store at {at}: the port is in use. If another process is rank {} too, give each a number of its \
                 own (RANK, in the task and not in the script before it); else give another port (MASTER_PORT)",
                place.rank
            ),
            Failure::Timeout(_) => format!(
                "{me} waited {waited} and found no store at {at}: is rank 0 started, has every rank the same MASTER_ADDR and \
                 MASTER_PORT, does a firewall let them through?"
            ),
            Failure::Lost(detail) => format!(
                "{me} lost the store at {at} after {waited} ({detail}): rank 0 ended, and its own output says why, or \
                 another program listens there"
            ),
            Failure::Other(detail) => format!("{me} cannot join the others at {at}: {detail}"),
        })
    };
    let prefix = format!("dualmd/{name}/{}", place.attempt);
    let serve = place.rank == 0 && !place.store_is_there;
    let open = |prefix: &str| {
        let store = Store::open((&place.host, place.port), serve, prefix, place.join);
        store.map_err(failed)
    };
    let mut store = open(&prefix)?;
    // Each rank has left as often as the others have, or will have in a moment.
    let mut before = 0;
    while place.store_is_there && store.has(&left(place.rank)).map_err(failed)? {
        before += 1;
        store = open(&format!("{prefix}/{before}"))?;
    }
    let (own, reached) = addresses(&place.host, place.port).map_err(|e| {
        RanksError::Join(format!(
            "{me} finds no way to {at}: {e}; is MASTER_ADDR a name or address of rank 0's machine?"
        ))
    })?;
    let card = Card {
        host: host.clone(),
        own,
        store: reached,
        world: place.world,
    };
    let key = |rank: usize| format!("rank/{rank}");
    if store.has(&key(place.rank)).map_err(failed)? {
        return Err(RanksError::Join(format!(
            "{me} is not the first that comes to {at} as rank {}: every rank needs a number of its own (RANK, or SLURM_PROCID); \
             if an earlier one has ended, end all ranks and start them together",
            place.rank
        )));
    }
    store.set(&key(place.rank), &card.write()).map_err(failed)?;
    let cards = await_all(place, &store, &key, began, &me, failed)?;
    let address = reachable(&card, &cards);
    let left = place.join.saturating_sub(began.elapsed());
    let process = Process::open(
        &store,
        (place.rank, place.world),
        left.max(Duration::from_secs(1)),
        &address.to_string(),
        place.interface.as_deref(),
    )
    .map_err(|failure| {
        let (detail, waited) = match failure {
            Failure::Timeout(text)
            | Failure::Lost(text)
            | Failure::InUse(text)
            | Failure::Other(text) => (text, seconds(began.elapsed())),
        };
        RanksError::Join(format!(
            "{me} met {} in the store at {at} and cannot connect to all of them after {waited} ({detail}): does a firewall \
             let their ports through, is {address} the address at which they reach this machine? GLOO_SOCKET_IFNAME names \
             another network interface",
            list((0..).zip(&cards).filter(|(r, _)| *r != place.rank).map(|(r, c)| format!("rank {r} on {}", c.host)))
        ))
    })?;
    process.set_timeout(place.timeout).map_err(failed)?;
    let hosts = cards.into_iter().map(|card| card.host).collect();
    Ok((process, hosts, place.store_is_there.then_some(store)))
}

/// Waits until every rank has left its card.
fn await_all(
    place: &Place,
    store: &Store,
    key: &dyn Fn(usize) -> String,
    began: Instant,
    me: &str,
    failed: impl Fn(Failure) -> RanksError,
) -> Result<Vec<Card>> {
    let mut cards: Vec<Option<Card>> = (0..place.world).map(|_| None).collect();
    let mut pause = Duration::from_millis(5);
    loop {
        for (rank, card) in cards.iter_mut().enumerate() {
            if card.is_none() && store.has(&key(rank)).map_err(&failed)? {
                let text = store.get(&key(rank)).map_err(&failed)?;
                let read = Card::read(&text).ok_or_else(|| {
                    RanksError::Join(format!(
                        "{me} does not understand what rank {rank} says: is it another version of this program?"
                    ))
                })?;
                if read.world != place.world {
                    return Err(RanksError::Join(format!(
                        "{me} and rank {rank} of {} on {} were told of different numbers of ranks: give all the same one \
                         (WORLD_SIZE, or SLURM_STEP_NUM_TASKS)",
                        read.world, read.host
                    )));
                }
                *card = Some(read);
            }
        }
        let missing: Vec<usize> = (0..place.world).filter(|&r| cards[r].is_none()).collect();
        if missing.is_empty() {
            return Ok(cards.into_iter().flatten().collect());
        }
        if began.elapsed() >= place.join {
            return Err(RanksError::Join(format!(
                "{me} waited {} for {} of {} ranks ({}), which did not come to {}: are they started, with the same \
                 MASTER_ADDR, MASTER_PORT and arguments, and does a firewall let them through?",
                seconds(place.join),
                missing.len(),
                place.world,
                list(missing.iter().map(|rank| format!("rank {rank}"))),
                place.store()
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// The address at which the others reach this machine. Many machines know their own name as a loopback address: on that of the
/// store, the address that the others took to it is meant then.
fn reachable(own: &Card, all: &[Card]) -> IpAddr {
    let other = all.iter().find(|card| !card.own.is_loopback());
    match other {
        Some(other) if own.own.is_loopback() => other.store,
        _ => own.own,
    }
}

/// From which address this machine reaches that one, and what that one's is. Nothing is sent.
fn addresses(host: &str, port: u16) -> std::io::Result<(IpAddr, IpAddr)> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for there in (host, port).to_socket_addrs()? {
        let any = if there.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let found = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(there)?;
            socket.local_addr()
        });
        match found {
            Ok(here) => return Ok((here.ip(), there.ip())),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The machine's name.
fn host() -> String {
    let path = Path::new("/proc/sys/kernel/hostname");
    dualmd_files::read_text(path, dualmd_files::limit::SETTINGS)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this machine".into())
}

/// A child process as rank `rank` of `world` on this machine, whose rank 0 opens the store at `port`.
pub fn local(command: &mut Command, rank: usize, world: usize, port: u16) {
    alone(command);
    for (name, value) in [
        ("RANK", rank.to_string()),
        ("LOCAL_RANK", rank.to_string()),
        ("WORLD_SIZE", world.to_string()),
        ("LOCAL_WORLD_SIZE", world.to_string()),
        ("MASTER_ADDR", "127.0.0.1".into()),
        ("MASTER_PORT", port.to_string()),
        (place::LAUNCHER, "this machine".into()),
    ] {
        command.env(name, value);
    }
}

/// A child process that is no rank, whatever launched its parent.
pub fn alone(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
}

/// Ports that [`free_port`] chooses from: below those that Linux gives to outgoing connections, one of which could meet itself there
/// before rank 0 listens.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of this machine that nobody listens at now. Calls of one process, and of processes at the same time, begin to look at
/// different places.
///
/// # Errors
/// There is none.
pub fn free_port() -> std::io::Result<u16> {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Of the standard library's hash maps: another number in every call.
    let first = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let count = u64::from(PORTS.end - PORTS.start);
    let ports = (0..count).map(|n| PORTS.start + ((first % count + n) % count) as u16);
    match ports.take(1000).find(free) {
        Some(port) => Ok(port),
        None => std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()
            .map(|address| address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn shares_are_all_of_it_and_even() {
        for world in 1..7 {
            for n in 0..20 {
                let all: Vec<usize> = (0..world).flat_map(|rank| share(n, rank, world)).collect();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
                let sizes: Vec<usize> =
                    (0..world).map(|rank| share(n, rank, world).len()).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn one_process_changes_nothing() {
        let group = Group::alone();
        let tensors = [Tensor::from_slice(&[1f32, 2.0])];
        let mut numbers = [3.0];
        group.sum(&tensors).unwrap();
        group.broadcast(&tensors, 0).unwrap();
        group.sum_f64(&mut numbers).unwrap();
        group.barrier().unwrap();
        group.agree("anything", 1, "nothing").unwrap();
        assert_eq!(tensors[0], Tensor::from_slice(&[1f32, 2.0]));
        assert_eq!((numbers, group.share(5)), ([3.0], 0..5));
        assert!(group.leads() && group.same(7).unwrap() && !group.any(false).unwrap());
        assert!(group.any(true).unwrap());
        assert_eq!(group.gather(9).unwrap(), [9]);
    }

    #[test]
    fn buckets_keep_the_order_and_their_size() {
        let of = |n: i64, kind| Tensor::zeros([n], (kind, Device::Cpu));
        let most = (BUCKET / 4) as i64;
        let tensors = [
            of(3, Kind::Float),
            of(most - 3, Kind::Float),
            of(1, Kind::Float),
            of(2 * most, Kind::Float),
            of(1, Kind::Float),
            of(1, Kind::Double),
        ];
        assert_eq!(buckets(&tensors), [0..2, 2..3, 3..4, 4..5, 5..6]);
        assert!(buckets(&[]).is_empty());
    }

    #[test]
    fn another_libtorch_is_refused() {
        assert!(same_library("2.13.0", "2.13.1").is_ok());
        for loaded in ["2.14.0", "3.13.0", ""] {
            let text = same_library("2.13.0", loaded).unwrap_err().to_string();
            assert!(
                text.contains("2.13.0") && text.contains("LIBTORCH"),
                "{text}"
            );
        }
        assert!(same_library(LIBTORCH_VERSION, &library_version()).is_ok());
    }

    #[test]
    fn the_machine_of_the_store_is_reached_as_the_others_reached_it() {
        let card = |own: &str, store: &str| Card {
            host: "h".into(),
            own: own.parse().unwrap(),
            store: store.parse().unwrap(),
            world: 2,
        };
        let (first, second) = (card("127.0.0.1", "127.0.1.1"), card("10.0.0.2", "10.0.0.1"));
        let seen = |own: &Card, all: &[Card]| reachable(own, all).to_string();
        let all = [card("127.0.0.1", "127.0.1.1"), card("10.0.0.2", "10.0.0.1")];
        assert_eq!(seen(&first, &all), "10.0.0.1");
        assert_eq!(seen(&second, &all), "10.0.0.2");
        assert_eq!(seen(&first, &all[..1]), "127.0.0.1");
        let copy = Card::read(&second.write()).unwrap();
        assert_eq!((copy.own, copy.store), (second.own, second.store));
        assert_eq!(copy.world, 2);
        // Of a program that does not say how many there are.
        assert!(Card::read("h\n10.0.0.2\n10.0.0.1").is_none());
    }
}
