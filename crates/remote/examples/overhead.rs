//! What a question costs beside the network: the same answer from this process and from another one, in turns.
//!
//!     cargo run --release -p dualmd-remote --example overhead -- "python echo.py" [CALLS]
//!
//! with `import dualmd; dualmd.serve(lambda x, t, c: x * 1, shape=(4, 64, 64), fingerprint="echo")` in `echo.py`. Without arguments a
//! thread of this program answers.
//!
//! Two measures. The clock's is what an audit waits for; other processes of the machine lengthen it, and its least is what they lengthen
//! least. Processor time is of this process, the server and their threads together: what other processes take is no part of it.

use dualmd_diffusion::Denoiser as _;
use dualmd_remote::serve::{Served, serve};
use dualmd_remote::{Place, Prediction, RemoteDenoiser, TIMEOUT};
use dualmd_torch::{Device, Kind, Tensor};
use std::error::Error;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// Images of a question, as many as `dualmd audit` asks about at a time.
const BATCH: i64 = 64;
/// Calls of one kind in a row: reading processor times costs some tenths of a millisecond, which they share.
const TURN: usize = 10;
/// The pass of a network, in ms, that the difference is a share of.
const PASS: f64 = 100.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = tempfile::tempdir()?;
    let place = match args.next() {
        Some(place) => Place::parse(&place)?,
        None => {
            let path = folder.path().join("echo");
            let listener = UnixListener::bind(&path)?;
            std::thread::spawn(move || {
                let model = Served {
                    name: "echo".into(),
                    fingerprint: Some("echo".into()),
                    shape: [4, 64, 64],
                    prediction: Prediction::Eps,
                    schedule: None,
                    predict: Box::new(|x, _| x.f_mul_scalar(1.0).map_err(|e| e.to_string())),
                    generate: None,
                    weights: None,
                };
                let served = listener.accept().map(|(stream, _)| serve(stream, &model));
                if !matches!(served, Ok(Ok(()))) {
                    eprintln!("the thread ended: {served:?}");
                }
            });
            Place::Socket(path)
        }
    };
    let calls: usize = args.next().map_or(Ok(200), |text| text.parse())?;
    let remote = RemoteDenoiser::open(&place, TIMEOUT)?;
    let [c, h, w] = remote.hello().shape;
    let x = Tensor::f_randn([BATCH, c, h, w], (Kind::Float, Device::Cpu))?;
    let t = Tensor::f_full([BATCH], 100, (Kind::Int64, Device::Cpu))?;
    let processes = family(std::process::id());
    let (mut here, mut asked) = (Taken::default(), Taken::default());
    // The first turn of each is for memory that is not there yet.
    for turn in 0..=calls.div_ceil(TURN).max(1) {
        let own = Taken::of(&processes, || Ok(x.f_mul_scalar(1.0)?))?;
        let other = Taken::of(&processes, || Ok(remote.predict_noise(&x, &t, None)?))?;
        if turn > 0 {
            here.add(own);
            asked.add(other);
        }
    }
    let n = asked.clock.len();
    println!(
        "{n} calls of {BATCH} x {c} x {h} x {w} of each kind, in turns of {TURN}; processor time is that of {} processes, this one and what it started",
        processes.len()
    );
    let [here, asked] = [here, asked].map(Taken::measured);
    for (name, one) in [("in this process", &here), ("asked", &asked)] {
        let [least, low, median, high, most] = one.clock;
        println!(
            "{name}: by the clock median {median:.2} ms, quartiles {low:.2} and {high:.2}, 95 % below {most:.2}, least {least:.2}; processor time {:.2} ms",
            one.processor
        );
    }
    let share = |name: &str, ms: f64| {
        println!(
            "asked, less in this process: {name} {ms:.2} ms, {:.1} % of a pass of {PASS} ms",
            ms / PASS * 100.0
        );
    };
    share("median", asked.clock[2] - here.clock[2]);
    share("least", asked.clock[0] - here.clock[0]);
    // Without that of a server that was there before.
    share("processor time", asked.processor - here.processor);
    Ok(())
}

/// What calls took.
#[derive(Default)]
struct Taken {
    /// Of each by the clock, ms.
    clock: Vec<f64>,
    /// Of all together, ns of processor time; NaN where the system does not say.
    processor: f64,
}

/// Quantiles of the times by the clock, and the mean processor time, ms.
struct Measured {
    /// Least, quartile, median, quartile, 95 %.
    clock: [f64; 5],
    processor: f64,
}

impl Taken {
    /// A turn of calls.
    fn of(
        processes: &[u32],
        call: impl Fn() -> Result<Tensor, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut clock = Vec::with_capacity(TURN);
        let before = processor_time(processes);
        for _ in 0..TURN {
            let began = Instant::now();
            let _ = call()?;
            clock.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let processor = processor_time(processes) - before;
        Ok(Self { clock, processor })
    }

    fn add(&mut self, more: Self) {
        self.clock.extend(more.clock);
        self.processor += more.processor;
    }

    fn measured(mut self) -> Measured {
        self.clock.sort_by(f64::total_cmp);
        let last = self.clock.len() as f64 - 1.0;
        let at = |share: f64| self.clock[(last * share) as usize];
        Measured {
            clock: [0.0, 0.25, 0.5, 0.75, 0.95].map(at),
            processor: self.processor / 1e6 / self.clock.len() as f64,
        }
    }
}

/// Nanoseconds on a processor of all threads of these processes; NaN where the system does not say.
fn processor_time(processes: &[u32]) -> f64 {
    // A thread's time is brought up to date when it leaves the processor, as this one does here.
    std::thread::sleep(Duration::from_micros(200));
    let read = |process: &u32| -> std::io::Result<f64> {
        let mut sum = 0.0;
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().unwrap_or_default();
            sum += first.parse().unwrap_or(f64::NAN);
        }
        Ok(sum)
    };
    processes
        .iter()
        .map(|process| read(process).unwrap_or(f64::NAN))
        .sum()
}

/// A process and all that it started, and they.
fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        // A name in parentheses, which may hold anything; then the state and the parent.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if let Some(parent) = parent {
            parents.push((id, parent));
        }
    }
    let mut found: Vec<u32> = vec![root];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        next += 1;
        found.extend(
            parents
                .iter()
                .filter(|(_, p): &&(u32, u32)| *p == of)
                .map(|(id, _)| *id),
        );
    }
    found
}
