//! What a question costs beside the network: calls of a denoiser that answers at once.
//!
//!     cargo run -p dualmd-remote --example overhead -- "python echo.py" [CALLS]
//!
//! with `import dualmd; dualmd.serve(lambda x, t, c: x, shape=(4, 64, 64), fingerprint="echo")` in `echo.py`. Without arguments a
//! thread of this program answers.

use dualmd_diffusion::Denoiser as _;
use dualmd_remote::serve::{Served, serve};
use dualmd_remote::{Place, Prediction, RemoteDenoiser, TIMEOUT};
use dualmd_torch::{Device, Kind, Tensor};
use std::error::Error;
use std::os::unix::net::UnixListener;
use std::time::Instant;

/// Images of a question, as many as `dualmd audit` asks about at a time.
const BATCH: i64 = 64;

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
                    predict: Box::new(|x, _| Ok(x.shallow_clone())),
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
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        let _ = remote.predict_noise(&x, &t, None)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{calls} calls of {BATCH} x {c} x {h} x {w}: median {:.2} ms, quartiles {:.2} and {:.2}, 95 % below {:.2}, fastest {:.2}",
        at(0.5),
        at(0.25),
        at(0.75),
        at(0.95),
        at(0.0)
    );
    Ok(())
}
