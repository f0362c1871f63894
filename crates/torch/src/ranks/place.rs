//! Where this process stands among its ranks, by the variables of whoever launched it.

use super::RanksError;
use std::time::Duration;

/// How long a rank waits for another one unless [`TIMEOUT`] says otherwise: torch's own default. It is to be longer than
/// whatever one rank does alone, a checkpoint for example. A process that ends is noticed at once.
const WAITS: Duration = Duration::from_secs(30 * 60);
/// How long it waits for the others to be started, at most.
const JOINS: Duration = Duration::from_secs(10 * 60);

/// The variable with the seconds that a rank waits for another one.
pub const TIMEOUT: &str = "DUALMD_RANKS_TIMEOUT";

/// The variables by which a process learns that it is one of several: whoever starts a process that is none of them
/// removes these.
pub const VARIABLES: [&str; 10] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_USE_AGENT_STORE",
    "SLURM_STEP_NUM_TASKS",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
];

/// The number of processes as mpirun says it (Open MPI; MPICH, Intel MPI, and `srun --mpi=pmi2`). It says nothing that ranks could meet by.
const OF_MPI: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// One of several processes that work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, 0 to `world` - 1.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
    /// Its number among those of its machine.
    pub local: usize,
    /// How many its machine has.
    pub local_world: usize,
    /// The machine of the store by which they find each other.
    pub host: String,
    /// The store's port.
    pub port: u16,
    /// The launcher opened the store; otherwise rank 0 does.
    pub store_is_there: bool,
    /// Which attempt of the launcher's this is: `0`, or what torchrun counts.
    pub attempt: String,
    /// Who launched it, for people: `torchrun`, `Slurm job 123`.
    pub launcher: String,
    /// How long it waits for the others in a common step.
    pub timeout: Duration,
    /// How long it waits until all are there.
    pub join: Duration,
    /// The network interface to use (`GLOO_SOCKET_IFNAME`).
    pub interface: Option<String>,
}

impl Place {
    /// Reads torchrun's variables, or those of srun; None where the process was launched alone. A launcher that starts one
    /// process gives a place in a world of one.
    ///
    /// Slurm's count is that of the step: `SLURM_NTASKS` is also set in a plain batch script, where nobody else comes.
    ///
    /// # Errors
    /// [`RanksError::Environment`]: a variable that is missing, is no number, or contradicts another; several processes of mpirun, which
    /// says nothing of where they meet.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, RanksError> {
        let var = |name: &str| {
            let value = var(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let of_torchrun = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"];
        let place = if let Some(known) = of_torchrun.into_iter().find(|name| var(name).is_some()) {
            Self::of_torchrun(&Variables {
                var: &var,
                known,
                launcher: "torchrun",
            })?
        } else if var("SLURM_STEP_NUM_TASKS").is_some() {
            let place = Self::of_slurm(&Variables {
                var: &var,
                known: "SLURM_STEP_NUM_TASKS",
                launcher: "srun",
            })?;
            not_of_mpi(&var, place.world)?;
            place
        } else {
            not_of_mpi(&var, 1)?;
            return Ok(None);
        };
        place.check()?;
        Ok(Some(place))
    }

    fn of_torchrun(v: &Variables<'_>) -> Result<Self, RanksError> {
        let (timeout, join) = v.times()?;
        Ok(Self {
            rank: v.number("RANK")?,
            world: v.number("WORLD_SIZE")?,
            local: v.number("LOCAL_RANK")?,
            local_world: v.number("LOCAL_WORLD_SIZE")?,
            host: bare(v.text("MASTER_ADDR")?),
            port: v.port("MASTER_PORT")?,
            store_is_there: (v.var)("TORCHELASTIC_USE_AGENT_STORE")
                .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1"),
            attempt: (v.var)("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into()),
            launcher: (v.var)(LAUNCHER).unwrap_or_else(|| "torchrun".into()),
            timeout,
            join,
            interface: (v.var)("GLOO_SOCKET_IFNAME"),
        })
    }

    fn of_slurm(v: &Variables<'_>) -> Result<Self, RanksError> {
        let job = v.number("SLURM_JOB_ID")?;
        let node = v.number("SLURM_NODEID")?;
        let per_node = v.text("SLURM_STEP_TASKS_PER_NODE")?;
        let local_world = tasks(&per_node, node).ok_or_else(|| {
            RanksError::Environment(format!(
                "SLURM_STEP_TASKS_PER_NODE = \"{per_node}\" says nothing of node {node} (SLURM_NODEID): srun sets both"
            ))
        })?;
        let host = match (v.var)("MASTER_ADDR") {
            Some(host) => bare(host),
            None => first_host(&v.text("SLURM_STEP_NODELIST")?),
        };
        let port = match (v.var)("MASTER_PORT") {
            Some(_) => v.port("MASTER_PORT")?,
            // 15000 to 34999: below the ports that Linux gives to connections.
            None => 15_000 + u16::try_from(job % 20_000).unwrap_or(0),
        };
        let (timeout, join) = v.times()?;
        Ok(Self {
            rank: v.number("SLURM_PROCID")?,
            world: v.number("SLURM_STEP_NUM_TASKS")?,
            local: v.number("SLURM_LOCALID")?,
            local_world,
            host,
            port,
            store_is_there: false,
            attempt: (v.var)("SLURM_RESTART_COUNT").unwrap_or_else(|| "0".into()),
            launcher: format!("Slurm job {job}"),
            timeout,
            join,
            interface: (v.var)("GLOO_SOCKET_IFNAME"),
        })
    }

    /// Where the store is, for people: HOST:PORT.
    pub(super) fn store(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Do the numbers agree with each other?
    fn check(&self) -> Result<(), RanksError> {
        let Self {
            rank,
            world,
            local,
            local_world,
            ..
        } = self;
        let (of_rank, of_world, of_local, of_local_world) = match self.launcher.starts_with("Slurm")
        {
            true => (
                "SLURM_PROCID",
                "SLURM_STEP_NUM_TASKS",
                "SLURM_LOCALID",
                "SLURM_STEP_TASKS_PER_NODE",
            ),
            false => ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        };
        for (small, a, large, b) in [
            (rank, of_rank, world, of_world),
            (local, of_local, local_world, of_local_world),
        ] {
            if small >= large {
                return Err(RanksError::Environment(format!(
                    "{a} = {small} and {b} = {large} contradict each other: ranks count from 0; whoever sets one of them by \
                     hand has to set all"
                )));
            }
        }
        if local_world > world || local > rank {
            return Err(RanksError::Environment(format!(
                "{of_local} = {local} of {of_local_world} = {local_world} and {of_rank} = {rank} of {of_world} = {world} \
                 contradict each other: a machine has no more ranks than there are"
            )));
        }
        Ok(())
    }
}

/// Refuses processes of which mpirun has started another number than there are ranks: each would take itself for one that is alone, or for
/// the task of Slurm's in which mpirun starts them.
fn not_of_mpi(var: &dyn Fn(&str) -> Option<String>, world: usize) -> Result<(), RanksError> {
    for name in OF_MPI {
        let size = var(name).and_then(|size| size.parse::<usize>().ok());
        if let Some(size) = size.filter(|&size| size > 1 && size != world) {
            return Err(RanksError::Environment(format!(
                "{name} = {size}: mpirun started {size} processes, and its variables do not say where they meet: start them with torchrun or \
                 srun; unset {name} to work in one process"
            )));
        }
    }
    Ok(())
}

/// A host without the brackets around an address of IPv6.
fn bare(host: String) -> String {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.to_owned(),
        None => host,
    }
}

/// Who launched the ranks, where it was neither torchrun nor Slurm.
pub(super) const LAUNCHER: &str = "DUALMD_RANKS_LAUNCHER";

struct Variables<'a> {
    var: &'a dyn Fn(&str) -> Option<String>,
    /// One that is set, by which the launcher was known.
    known: &'static str,
    launcher: &'static str,
}

impl Variables<'_> {
    fn text(&self, name: &str) -> Result<String, RanksError> {
        (self.var)(name).ok_or_else(|| {
            RanksError::Environment(format!(
                "{} is set and {name} is not: {} sets both; unset {} to work in one process",
                self.known, self.launcher, self.known
            ))
        })
    }

    fn number(&self, name: &str) -> Result<usize, RanksError> {
        self.parsed(name, "a number from 0 on")
    }

    fn port(&self, name: &str) -> Result<u16, RanksError> {
        let port = self.parsed(name, "a port, 1 to 65535")?;
        match port {
            0 => Err(not(name, "0", "a port, 1 to 65535", self.launcher)),
            _ => Ok(port),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T, RanksError> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| not(name, &text, what, self.launcher))
    }

    /// How long to wait in a common step, and until all are there.
    fn times(&self) -> Result<(Duration, Duration), RanksError> {
        let Some(text) = (self.var)(TIMEOUT) else {
            return Ok((WAITS, JOINS));
        };
        let seconds: u64 = text
            .parse()
            .ok()
            .filter(|seconds| (1..=7 * 24 * 3600).contains(seconds))
            .ok_or_else(|| not(TIMEOUT, &text, "whole seconds, 1 to 604800", "you"))?;
        let timeout = Duration::from_secs(seconds);
        Ok((timeout, timeout.min(JOINS)))
    }
}

fn not(name: &str, value: &str, what: &str, who: &str) -> RanksError {
    RanksError::Environment(format!(
        "{name} = \"{}\" is not {what}: {who} set it",
        value.escape_debug()
    ))
}

/// The tasks of node `node` in Slurm's short form: `4(x2),3` are 4, 4 and 3.
fn tasks(short: &str, node: usize) -> Option<usize> {
    let mut before = 0;
    for part in short.split(',') {
        let (count, times) = match part.split_once("(x") {
            Some((count, times)) => (count, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1usize),
        };
        before += times;
        if node < before {
            return count.trim().parse().ok();
        }
    }
    None
}

/// The first name of Slurm's short form of a list of machines: `gpu[03-05,9]` begins with gpu03.
fn first_host(list: &str) -> String {
    let (mut name, mut rest) = (String::new(), list);
    while let Some(at) = rest.find([',', '[']) {
        name.push_str(&rest[..at]);
        if rest[at..].starts_with(',') {
            return name;
        }
        let (inside, after) = rest[at + 1..]
            .split_once(']')
            .unwrap_or((&rest[at + 1..], ""));
        name.push_str(inside.split([',', '-']).next().unwrap_or_default());
        rest = after;
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<Place>, RanksError> {
        Place::read(|name| {
            let found = set.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const TORCHRUN: [(&str, &str); 6] = [
        ("RANK", "5"),
        ("WORLD_SIZE", "8"),
        ("LOCAL_RANK", "1"),
        ("LOCAL_WORLD_SIZE", "4"),
        ("MASTER_ADDR", "gpu03"),
        ("MASTER_PORT", "29500"),
    ];

    const SRUN: [(&str, &str); 8] = [
        ("SLURM_PROCID", "5"),
        ("SLURM_STEP_NUM_TASKS", "8"),
        ("SLURM_LOCALID", "1"),
        ("SLURM_NODEID", "1"),
        ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
        ("SLURM_STEP_NODELIST", "gpu[03-05,9]"),
        ("SLURM_JOB_ID", "123456"),
        ("SLURM_NTASKS", "99"),
    ];

    fn with<'a>(
        all: &[(&'a str, &'a str)],
        name: &'a str,
        value: Option<&'a str>,
    ) -> Vec<(&'a str, &'a str)> {
        let others = all.iter().copied().filter(|(n, _)| *n != name);
        others.chain(value.map(|value| (name, value))).collect()
    }

    #[test]
    fn torchrun_and_srun_say_the_same_in_their_own_words() {
        let torchrun = read(&TORCHRUN).unwrap().unwrap();
        assert_eq!((torchrun.rank, torchrun.world), (5, 8));
        assert_eq!((torchrun.local, torchrun.local_world), (1, 4));
        assert_eq!((torchrun.host.as_str(), torchrun.port), ("gpu03", 29500));
        assert!(!torchrun.store_is_there && torchrun.attempt == "0");
        let agent = with(&TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE", Some("True"));
        assert!(read(&agent).unwrap().unwrap().store_is_there);
        let srun = read(&SRUN).unwrap().unwrap();
        let expected = Place {
            port: 15_000 + 3456,
            launcher: "Slurm job 123456".into(),
            ..torchrun.clone()
        };
        assert_eq!(srun, expected);
        let port = with(&SRUN, "MASTER_PORT", Some("700"));
        assert_eq!(read(&port).unwrap().unwrap().port, 700);
        // An agent of torchrun's, started by srun: torchrun counts.
        let both: Vec<_> = TORCHRUN.into_iter().chain(SRUN).collect();
        assert_eq!(read(&both).unwrap().unwrap(), torchrun);
        let patience = with(&TORCHRUN, TIMEOUT, Some("7200"));
        let patience = read(&patience).unwrap().unwrap();
        assert_eq!(patience.timeout, Duration::from_secs(7200));
        assert_eq!(patience.join, JOINS);
    }

    #[test]
    fn an_address_of_ipv6_may_have_brackets() {
        for host in ["[fd00::1]", "fd00::1"] {
            let torchrun = read(&with(&TORCHRUN, "MASTER_ADDR", Some(host))).unwrap();
            let srun = read(&with(&SRUN, "MASTER_ADDR", Some(host))).unwrap();
            assert_eq!(torchrun.as_ref().unwrap().store(), "[fd00::1]:29500");
            for place in [torchrun, srun] {
                assert_eq!(place.unwrap().host, "fd00::1");
            }
        }
    }

    #[test]
    fn several_processes_of_mpirun_are_refused() {
        let said = |set: &[(&str, &str)]| read(set).unwrap_err().to_string();
        for name in OF_MPI {
            let text = said(&[(name, "4")]);
            assert!(
                text.contains(&format!("{name} = 4")) && text.contains("torchrun or srun"),
                "{text}"
            );
            assert_eq!(read(&[(name, "1")]).unwrap(), None);
            // Started by mpirun in the one task of a step of Slurm's, or by srun itself.
            let set = |n| with(&SRUN, name, Some(n));
            assert!(said(&set("16")).contains(name));
            assert_eq!(read(&set("8")).unwrap(), read(&SRUN).unwrap());
            // One agent of torchrun's on each machine: torchrun counts.
            let agents = with(&TORCHRUN, name, Some("2"));
            assert_eq!(read(&agents).unwrap(), read(&TORCHRUN).unwrap());
            assert!(VARIABLES.contains(&name));
        }
    }

    #[test]
    fn who_is_alone_is_no_rank() {
        assert_eq!(read(&[]).unwrap(), None);
        // A batch script of eight tasks, outside of any step; a rendezvous without ranks.
        let script = [
            ("SLURM_NTASKS", "8"),
            ("SLURM_PROCID", "0"),
            ("MASTER_ADDR", "a"),
        ];
        assert_eq!(read(&script).unwrap(), None);
        assert_eq!(read(&[("RANK", "")]).unwrap(), None);
    }

    #[test]
    fn a_wrong_variable_is_named_with_who_sets_it() {
        let said = |set: &[(&str, &str)]| match read(set) {
            Err(RanksError::Environment(text)) => text,
            other => panic!("{other:?}"),
        };
        for (name, _) in TORCHRUN {
            let text = said(&with(&TORCHRUN, name, None));
            assert!(text.contains(&format!("{name} is not")), "{text}");
            assert!(text.contains("torchrun"), "{text}");
        }
        for (name, _) in &SRUN[..7] {
            if *name != "SLURM_STEP_NUM_TASKS" {
                let text = said(&with(&SRUN, name, None));
                assert!(text.contains(name) && text.contains("srun"), "{text}");
            }
        }
        for (name, value) in [
            ("RANK", "first"),
            ("WORLD_SIZE", "-1"),
            ("LOCAL_RANK", "1.0"),
            ("MASTER_PORT", "0"),
            ("MASTER_PORT", "70000"),
            (TIMEOUT, "0"),
            (TIMEOUT, "soon"),
        ] {
            let text = said(&with(&TORCHRUN, name, Some(value)));
            assert!(text.contains(&format!("{name} = \"{value}\"")), "{text}");
        }
        for (name, value) in [
            ("RANK", "8"),
            ("LOCAL_RANK", "4"),
            ("LOCAL_WORLD_SIZE", "9"),
            ("RANK", "0"),
            ("WORLD_SIZE", "0"),
        ] {
            let text = said(&with(&TORCHRUN, name, Some(value)));
            assert!(text.contains("contradict") && text.contains(name), "{text}");
        }
        assert!(said(&with(&SRUN, "SLURM_NODEID", Some("2"))).contains("node 2"));
    }

    #[test]
    fn short_forms_of_slurm() {
        for (list, first) in [
            ("gpu[03-05,9]", "gpu03"),
            ("gpu[9,03-05]", "gpu9"),
            ("a1,b2", "a1"),
            ("rack[1-2]node[3-4],x", "rack1node3"),
            ("one", "one"),
            ("n[7].cluster", "n7.cluster"),
        ] {
            assert_eq!(first_host(list), first);
        }
        let all: Vec<Option<usize>> = (0..4).map(|node| tasks("4(x2),3", node)).collect();
        assert_eq!(all, [Some(4), Some(4), Some(3), None]);
        assert_eq!(tasks("4(x", 0), None);
    }
}
