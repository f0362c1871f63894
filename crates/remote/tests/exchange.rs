//! Questions and answers over a socket, and what bad servers get.

use dualmd_diffusion::{
    Asked, Condition, Denoiser, DiffusionError, Foreign as _, GaussianDenoiser, NoiseSchedule,
};
use dualmd_remote::message::{self, Writer};
use dualmd_remote::serve::{Served, serve};
use dualmd_remote::{Place, Prediction, RemoteDenoiser, RemoteError};
use dualmd_torch::{Device, Kind, Tensor};
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn gaussian() -> GaussianDenoiser {
    let options = (Kind::Double, Device::Cpu);
    let covariance = Tensor::eye(8, options) * 0.3 + Tensor::full([8, 8], 0.1, options);
    GaussianDenoiser::new(
        &Tensor::full([8], 0.2, options),
        &covariance,
        NoiseSchedule::default(),
    )
    .unwrap()
}

/// A server of one connection.
fn listening(path: &Path, serve: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0))
}

fn open(path: &Path) -> dualmd_remote::Result<RemoteDenoiser> {
    RemoteDenoiser::open(&Place::Socket(path.to_owned()), LONG)
}

fn served(oracle: &GaussianDenoiser) -> Served<'_> {
    Served {
        name: "a Gaussian".into(),
        fingerprint: Some("abc".into()),
        shape: [2, 2, 2],
        prediction: Prediction::Eps,
        schedule: None,
        predict: Box::new(|x, t| oracle.predict_noise(x, t, None).map_err(|e| e.to_string())),
        generate: Some(Box::new(|seed, count, steps| {
            Ok(Tensor::full(
                [count, 2, 2, 2],
                steps as f64 + (seed % 2) as f64,
                (Kind::Float, Device::Cpu),
            ))
        })),
        weights: None,
    }
}

fn noisy(n: i64) -> Tensor {
    dualmd_torch::tch::manual_seed(1);
    Tensor::randn([n, 2, 2, 2], (Kind::Float, Device::Cpu))
}

#[test]
fn an_oracle_answers_over_the_socket_as_it_does_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = listening(&path, |stream| serve(stream, &served(&gaussian())).unwrap());
    let remote = open(&path).unwrap();
    assert_eq!(
        (remote.hello().name.as_deref(), remote.hello().shape),
        (Some("a Gaussian"), [2, 2, 2])
    );
    for n in [3, 1, 17] {
        let x = noisy(n);
        let t = Tensor::from_slice(&(0..n).map(|i| i * 50).collect::<Vec<_>>());
        let here = gaussian().predict_noise(&x, &t, None).unwrap();
        assert_eq!(remote.predict_noise(&x, &t, None).unwrap(), here);
    }
    let images = remote
        .generate(&Asked {
            seed: 5,
            first: 0,
            count: 4,
            steps: 7,
            texts: None,
        })
        .unwrap();
    assert_eq!(
        (images.size(), images.max().double_value(&[])),
        (vec![4, 2, 2, 2], 1.0)
    );
    let error = remote.predict_noise(
        &Tensor::zeros([1, 3, 2, 2], (Kind::Float, Device::Cpu)),
        &Tensor::from_slice(&[1i64]),
        None,
    );
    assert!(matches!(error, Err(DiffusionError::Shape { .. })));
    drop(remote);
    server.join().unwrap();
}

#[test]
fn the_fingerprint_tells_weights_apart_with_and_without_the_servers_own() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, fingerprint: Option<&'static str>, scale: f64| {
        let path = dir.path().join(name);
        let server = listening(&path, move |stream| {
            let oracle = gaussian();
            let mut model = served(&oracle);
            model.fingerprint = fingerprint.map(str::to_owned);
            model.predict = Box::new(|x, t| Ok(oracle.predict_noise(x, t, None).unwrap() * scale));
            serve(stream, &model).unwrap();
        });
        let remote = open(&path).unwrap();
        let found = remote.fingerprint().to_owned();
        drop(remote);
        server.join().unwrap();
        found
    };
    assert_eq!(of("a", Some("x"), 1.0), of("b", Some("x"), 2.0));
    assert_ne!(of("c", Some("x"), 1.0), of("d", Some("y"), 1.0));
    assert_eq!(of("e", None, 1.0), of("f", None, 1.0));
    assert_ne!(of("g", None, 1.0), of("h", None, 1.001));
}

/// A LoRA's base is asked over the connection of the model, with the texts that the model was told.
#[test]
fn a_base_is_a_model_of_its_own_over_the_same_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = listening(&path, |mut stream| {
        let (mut buffer, mut writer) = (Vec::new(), Writer::default());
        while let Ok(asked) = message::read(&mut stream, &mut buffer, 1 << 20, "any") {
            match asked.kind() {
                "hello" => {
                    let settings = [
                        ("version", "1".to_owned()),
                        ("shape", "2,2,2".to_owned()),
                        ("prediction", "eps".to_owned()),
                        ("fingerprint", "f".to_owned()),
                        ("can", "texts,generate,base".to_owned()),
                    ];
                    writer.send(&mut stream, "hello", &settings, &[]).unwrap();
                }
                "predict" => {
                    assert_eq!(asked.setting("texts"), Some(r#"["a cat","a dog","a cat"]"#));
                    let x = asked.tensor("x", &[Kind::Float], &[3, 2, 2, 2]).unwrap();
                    let made = match asked.setting("base") {
                        Some("1") => &x * 2.0,
                        _ => x,
                    };
                    let made = [("prediction", &made)];
                    writer.send(&mut stream, "predict", &[], &made).unwrap();
                }
                _ => return,
            }
        }
    });
    let remote = open(&path).unwrap();
    let base = remote.base().unwrap();
    assert_ne!(remote.fingerprint(), base.fingerprint());
    assert!(base.base().is_none());
    assert!(remote.generates() && !base.generates());
    let texts = remote.text_embeddings(&["a cat", "a dog", "a cat"]);
    let told = Condition::of_text(texts.unwrap());
    let (x, t) = (noisy(3), Tensor::from_slice(&[1i64, 2, 3]));
    let ask = |model: &RemoteDenoiser| model.predict_noise(&x, &t, Some(&told)).unwrap();
    assert_eq!(ask(&remote), x);
    assert_eq!(ask(&base), &x * 2.0);
    assert_eq!(ask(&remote), x);
    // The connection lasts as long as one of them.
    drop(remote);
    assert_eq!(ask(&base), &x * 2.0);
    drop(base);
    server.join().unwrap();
    let plain = dir.path().join("plain");
    let server = listening(&plain, |stream| {
        serve(stream, &served(&gaussian())).unwrap()
    });
    assert!(open(&plain).unwrap().base().is_none());
    server.join().unwrap();
}

/// A server that answers hello as it should, and `predict` by the given function.
fn odd(answer: impl Fn(&mut UnixStream, &mut Writer, &Tensor) + Send + 'static) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = listening(&path, move |mut stream| {
        let (mut buffer, mut writer) = (Vec::new(), Writer::default());
        while let Ok(asked) = message::read(&mut stream, &mut buffer, 1 << 20, "any") {
            match asked.kind() {
                "hello" => {
                    let settings = [
                        ("version", "1".to_owned()),
                        ("shape", "2,2,2".to_owned()),
                        ("prediction", "eps".to_owned()),
                        ("fingerprint", "f".to_owned()),
                    ];
                    writer.send(&mut stream, "hello", &settings, &[]).unwrap();
                }
                "predict" => {
                    let x = asked.tensor("x", &[Kind::Float], &[3, 2, 2, 2]).unwrap();
                    answer(&mut stream, &mut writer, &x);
                    return;
                }
                _ => return,
            }
        }
    });
    let remote = open(&path).unwrap();
    let t = Tensor::from_slice(&[1i64, 2, 3]);
    let error = remote
        .predict_noise(&noisy(3), &t, None)
        .unwrap_err()
        .to_string();
    let broken = remote.is_broken();
    // What cannot be asked any more says why.
    let again = remote
        .predict_noise(&noisy(3), &t, None)
        .unwrap_err()
        .to_string();
    assert!(!broken || again.contains(&error), "{again}");
    drop(remote);
    server.join().unwrap();
    error
}

#[test]
fn bad_answers_get_one_line_with_the_remedy() {
    let sends = |name: &'static str, make: fn(&Tensor) -> Tensor| {
        odd(move |stream, writer, x| {
            writer
                .send(stream, "predict", &[], &[(name, &make(x))])
                .unwrap()
        })
    };
    let nan = sends("prediction", |x| {
        let bad = Tensor::from_slice(&[0.0f32, f32::NAN, f32::INFINITY]).view([3, 1, 1, 1]);
        x.zeros_like() + bad
    });
    assert!(
        nan.contains("16 of its 24 values are NaN or infinite, the first of them in image 1"),
        "{nan}"
    );
    let shape = sends("prediction", |x| x.narrow(0, 0, 2));
    assert!(
        shape.contains("[2, 2, 2, 2] and must be of [3, 2, 2, 2]"),
        "{shape}"
    );
    let dtype = sends("prediction", |x| x.to_kind(Kind::Int64));
    assert!(dtype.contains("I64 and must be f32"), "{dtype}");
    let name = sends("eps", Tensor::shallow_clone);
    assert!(
        name.contains("no tensor `prediction` (it has eps)"),
        "{name}"
    );
    let kind = odd(|stream, writer, _| writer.send(stream, "thanks", &[], &[]).unwrap());
    assert!(kind.contains("of kind `thanks`"), "{kind}");
    let own = odd(|stream, writer, _| {
        let words = [("message", "CUDA out of memory\u{1b}[31m".to_owned())];
        writer.send(stream, "error", &words, &[]).unwrap();
    });
    assert!(
        own.contains("failed at `predict`: CUDA out of memory\\u{1b}[31m"),
        "{own}"
    );
    let long = odd(|stream, _, _| stream.write_all(&u64::MAX.to_le_bytes()).unwrap());
    assert!(
        long.contains("announces an answer of 18446744073709551615 bytes")
            && long.contains("no right one has more than"),
        "{long}"
    );
    let trash = odd(|stream, _, _| {
        stream.write_all(&9u64.to_le_bytes()).unwrap();
        stream.write_all(b"{}{}{}{}{").unwrap();
    });
    assert!(
        trash.contains("no message of the protocol") && trash.contains("docs/denoiser.md"),
        "{trash}"
    );
    let gone = odd(|stream, _, _| stream.shutdown(std::net::Shutdown::Both).unwrap());
    assert!(gone.contains("server ended"), "{gone}");
}

#[test]
fn a_version_of_another_year_and_a_hello_that_makes_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let says = |name: &str, settings: &'static [(&'static str, &'static str)]| {
        let path = dir.path().join(name);
        let server = listening(&path, move |mut stream| {
            let mut buffer = Vec::new();
            message::read(&mut stream, &mut buffer, 1000, "any").unwrap();
            let settings: Vec<(&str, String)> = settings
                .iter()
                .map(|(k, v)| (*k, (*v).to_owned()))
                .collect();
            Writer::default()
                .send(&mut stream, "hello", &settings, &[])
                .unwrap();
        });
        let error = open(&path).unwrap_err();
        server.join().unwrap();
        error
    };
    assert!(
        matches!(says("a", &[("version", "2"), ("shape", "?")]), RemoteError::Version(v) if v == "2")
    );
    assert!(
        matches!(says("b", &[("version", "1")]), RemoteError::Hello(why) if why.contains("no `shape`"))
    );
    let nobody = open(&dir.path().join("nobody")).unwrap_err().to_string();
    assert!(nobody.contains("start the server first"), "{nobody}");
    let dead = dir.path().join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    assert!(
        open(&dead)
            .unwrap_err()
            .to_string()
            .contains("start it again")
    );
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = listening(&path, |stream| {
        std::thread::sleep(Duration::from_millis(700));
        drop(stream);
    });
    let began = Instant::now();
    let error = RemoteDenoiser::open(&Place::Socket(path), Duration::from_millis(200)).unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(600));
    assert!(
        matches!(error, RemoteError::Hangs { .. })
            && error.to_string().contains("--denoiser-timeout"),
        "{error}"
    );
    server.join().unwrap();
}

/// A server that sends its answer drop by drop does not outwit the clock.
#[test]
fn a_slow_answer_ends_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let server = listening(&path, |mut stream| {
        let _ = stream.write_all(&64u64.to_le_bytes());
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(b" ").is_err() {
                return;
            }
        }
    });
    let error = RemoteDenoiser::open(&Place::Socket(path), Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, RemoteError::Hangs { .. }), "{error}");
    server.join().unwrap();
}

mod commands {
    use super::*;

    fn run(command: &str, timeout: Duration) -> String {
        let place = Place::parse(command).unwrap();
        RemoteDenoiser::open(&place, timeout)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn one_that_fails_is_reported_with_its_last_words() {
        let error = run(
            "echo loading; echo 'ImportError: no torch' >&2; exit 3",
            LONG,
        );
        for words in [
            "exit status: 3",
            "loading | ImportError: no torch",
            "dualmd.serve",
            "DUALMD_DENOISER_SOCKET",
        ] {
            assert!(error.contains(words), "{error}");
        }
        let error = run("no-such-program-here", LONG);
        assert!(
            error.contains("exit status: 127") && error.contains("no-such-program-here"),
            "{error}"
        );
    }

    #[test]
    fn one_that_never_connects_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let began = Instant::now();
        let command = format!(
            "echo waiting; (sleep 1000 & echo $! > {0}; wait); true",
            pid.display()
        );
        let error = run(&command, Duration::from_millis(300));
        assert!(
            error.contains("no answer to `hello`") && error.contains("waiting"),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(20));
        let pid = std::fs::read_to_string(pid).unwrap();
        // It is killed; on a busy machine it may take a moment to be gone.
        let there = || {
            let stat = format!("/proc/{}/stat", pid.trim());
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let asked = Instant::now();
        while there() && asked.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!there(), "{} is still there", pid.trim());
    }

    /// The socket's folder is its owner's alone, and gone in the end.
    #[test]
    fn the_socket_is_private_and_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let command = format!(
            "f=$(dirname $DUALMD_DENOISER_SOCKET); echo $f > {0}; stat -c %a $f >> {0}; exit 1",
            out.display()
        );
        run(&command, LONG);
        let text = std::fs::read_to_string(&out).unwrap();
        let (folder, mode) = text.trim().split_once('\n').unwrap();
        assert_eq!(mode, "700");
        assert!(!Path::new(folder).exists());
    }
}
