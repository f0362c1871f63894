//! GSA over the socket: the norms of a server are those of the model here, whatever it predicts; and what servers get that answer
//! something else.

use dualmd_attack::{AttackError, Batch, Gsa1, Gsa2, Learned};
use dualmd_data::stream;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{Condition, Denoiser, GradientQuestion, NoiseSchedule, Pipeline};
use dualmd_remote::message::{self, Writer};
use dualmd_remote::serve::{Served, serve};
use dualmd_remote::{Place, Prediction, RemoteDenoiser};
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Kind, Tensor, noise};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Opens what `server` serves to one connection, and does `work` with it.
fn remotely<T>(
    server: impl FnOnce(UnixStream) + Send + 'static,
    work: impl FnOnce(&RemoteDenoiser) -> T,
) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || server(listener.accept().unwrap().0));
    let remote = RemoteDenoiser::open(&Place::Socket(path), Duration::from_secs(60)).unwrap();
    let out = work(&remote);
    drop(remote);
    thread.join().unwrap();
    out
}

/// The other end of a connection.
type Server = Box<dyn FnOnce(UnixStream) + Send>;

/// A network with random weights, in the repository.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm")
}

/// The golden network as one that predicts `kind`, by the name of diffusers' configuration.
fn pipeline(kind: &str) -> Pipeline {
    let loaded = Pipeline::load(&golden(), WeightSet::Ema, Device::Cpu).unwrap();
    let config = SchedulerConfig {
        prediction_type: kind.into(),
        ..loaded.schedule.config().clone()
    };
    Pipeline {
        schedule: NoiseSchedule::new(config).unwrap(),
        ..loaded
    }
}

/// Norms that both attacks see, [2, B, P] f64: of the mean's gradient, and the mean of the gradients'.
fn norms(model: &dyn Denoiser, schedule: &NoiseSchedule, x: &Tensor) -> Tensor {
    let ids: Vec<String> = (0..x.size()[0]).map(|i| i.to_string()).collect();
    let mut batch = Batch::new(model, schedule, x, &ids, 3).unwrap();
    let mut seen = |attack: &dyn Learned| {
        let logarithms = attack.features(&mut batch).unwrap();
        logarithms.to_kind(Kind::Double).exp()
    };
    let alone = seen(&Gsa1::default());
    let each = seen(&Gsa2::default());
    // From here on GSA1 takes its norms from GSA2's.
    let from_each = worst(&alone, &seen(&Gsa1::default()));
    assert!(
        from_each < 1e-3,
        "GSA1 with and without GSA2: {from_each:e}"
    );
    Tensor::stack(&[alone, each], 0)
}

/// The largest relative difference of norms that are more than rounding.
fn worst(here: &Tensor, there: &Tensor) -> f64 {
    assert_eq!(here.size(), there.size());
    let telling = here.gt(here.max().double_value(&[]) * 1e-5);
    assert!(telling.sum(Kind::Int64).int64_value(&[]) > 0);
    let apart = (here - there).abs() / here.clamp_min(1e-300);
    (apart * telling).max().double_value(&[])
}

#[test]
fn a_network_over_the_socket_has_the_norms_of_the_folder() {
    // The gradients of a convolution's weights wait for each other thread by thread: on a busy machine that takes minutes.
    dualmd_torch::tch::set_num_threads(1);
    let x = read_npy(&golden().join("x.npy")).unwrap();
    for (prediction, kind, limit) in [
        (Prediction::Eps, "epsilon", 1e-5),
        (Prediction::V, "v_prediction", 1e-5),
        (Prediction::X0, "sample", 1e-5),
    ] {
        let native = pipeline(kind);
        let here = norms(&native, &native.schedule, &x);
        let server = move |stream: UnixStream| {
            let own = pipeline(kind);
            let served = Served {
                name: "golden".into(),
                fingerprint: Some("golden".into()),
                shape: own.image_shape().unwrap(),
                prediction,
                schedule: Some(&own.schedule),
                // The network's own answer, not the noise it means.
                predict: Box::new(|x, t| {
                    (own.network.predict_noise(x, t, None)).map_err(|e| e.to_string())
                }),
                generate: None,
                weights: own.weights(),
            };
            serve(stream, &served).unwrap();
        };
        let there = remotely(server, |remote| {
            assert!(remote.hello().can.gradient && remote.weights().is_none());
            norms(remote, &remote.hello().schedule, &x)
        });
        let apart = worst(&here, &there);
        assert!(apart < limit, "{kind}: {apart:e}");
    }
}

/// A network that can be worked with at any level: x times a weight, a curve of x that depends on the level, a bias. The last
/// parameter takes no part.
struct Curve {
    prediction: Prediction,
    weights: [Tensor; 4],
}

impl Curve {
    fn new(prediction: Prediction) -> Self {
        let drawn = |k: u64, shape: &[i64]| {
            noise::normal(&mut stream(k, "curve", 0), shape, Device::Cpu) * 0.3
        };
        Self {
            prediction,
            weights: [
                drawn(0, &[1]),
                drawn(1, &[2, 1, 1]),
                drawn(2, &[2, 3, 3]),
                drawn(3, &[7]),
            ],
        }
    }

    fn answer(&self, x: &Tensor, level: &Tensor) -> Tensor {
        let level = level.to_kind(Kind::Float).view([-1, 1, 1, 1]);
        let [w, curve, bias, _] = &self.weights;
        x * w + (x * curve).tanh() * (level + 1.5).log() + bias
    }
}

impl Denoiser for Curve {
    /// The noise, by formulas of the test's own.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        _: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let (a, b) = NoiseSchedule::default().coefficients(t);
        Ok(match self.prediction {
            Prediction::Eps => self.answer(x_t, t),
            Prediction::V => self.answer(x_t, t) * a + x_t * b,
            Prediction::X0 => (x_t - self.answer(x_t, t) * a) / b,
            Prediction::Flow => {
                let x = x_t / (&a + &b);
                let s = &b / (&a + &b);
                // v = eps - x_0 and x = x_0 + s v give eps = x + (1 - s) v.
                let v = self.answer(&x, &s);
                &x + (-s + 1.0) * v
            }
            Prediction::Edm => {
                let (y, sigma) = (x_t / &a, &b / &a);
                (&y - self.answer(&y, &sigma)) / sigma
            }
        })
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        Some(self.weights.iter().map(Tensor::shallow_clone).collect())
    }
}

fn curve_served(prediction: Prediction, shows: bool) -> impl FnOnce(UnixStream) + Send {
    move |stream: UnixStream| {
        let curve = Curve::new(prediction);
        let served = Served {
            name: "a curve".into(),
            fingerprint: Some("curve".into()),
            shape: [2, 3, 3],
            prediction,
            schedule: None,
            predict: Box::new(|x, level| Ok(curve.answer(x, level))),
            generate: None,
            weights: curve.weights().filter(|_| shows),
        };
        serve(stream, &served).unwrap();
    }
}

fn images(n: i64) -> Tensor {
    noise::normal(&mut stream(5, "images", 0), &[n, 2, 3, 3], Device::Cpu) * 0.5
}

#[test]
fn the_norms_are_those_of_the_noise_whatever_the_network_predicts() {
    let (x, schedule) = (images(6), NoiseSchedule::default());
    for prediction in Prediction::ALL {
        let here = norms(&Curve::new(prediction), &schedule, &x);
        let there = remotely(curve_served(prediction, true), |remote| {
            norms(remote, &schedule, &x)
        });
        assert_eq!(there.size(), [2, 6, 4]);
        // What takes no part has norm 0, of which the logarithm is of the smallest number.
        assert!(there.select(2, 3).max().double_value(&[]) < 1e-30);
        let apart = worst(&here, &there);
        assert!(apart < 1e-4, "{}: {apart:e}", prediction.name());
    }
}

fn question<'a>(rows: &'a [Tensor; 3], samples: usize, each: bool) -> GradientQuestion<'a> {
    GradientQuestion {
        x_t: &rows[0],
        t: &rows[1],
        noise: &rows[2],
        condition: None,
        samples,
        each,
    }
}

/// Four noisy images, their timesteps, their noise.
fn rows() -> [Tensor; 3] {
    let drawn = images(8);
    [
        drawn.narrow(0, 0, 4),
        Tensor::from_slice(&[100i64, 500, 100, 500]),
        drawn.narrow(0, 4, 4),
    ]
}

#[test]
fn two_samples_at_once_are_two_samples_and_a_question_that_does_not_fit_is_refused_here() {
    remotely(curve_served(Prediction::V, true), |remote| {
        let rows = rows();
        let ask = |rows: &[Tensor; 3], samples, each| {
            let asked = remote.gradient_norms(&question(rows, samples, each));
            asked.unwrap()
        };
        for each in [true, false] {
            let both = ask(&rows, 2, each).unwrap();
            assert_eq!((both.size(), both.kind()), (vec![2, 2, 4], Kind::Double));
            for i in 0..2 {
                let own = rows.each_ref().map(|r| r.narrow(0, 2 * i, 2));
                let alone = ask(&own, 1, each).unwrap();
                assert_eq!(alone.squeeze_dim(1), both.select(1, i));
            }
            let [of_mean, mean_of] = [both.get(0), both.get(1)];
            match each {
                // The norm of a mean is at most the mean of the norms.
                true => assert!((&mean_of - &of_mean).max().double_value(&[]) > 1e-6),
                false => assert_eq!(of_mean, mean_of),
            }
        }
        let three = ask(&rows, 3, true).unwrap_err().to_string();
        assert!(three.contains("for each of 3 samples"), "{three}");
        assert!(ask(&rows, 0, true).is_err());
        let [x_t, t, noise] = &rows;
        let short = [
            x_t.shallow_clone(),
            t.shallow_clone(),
            noise.narrow(0, 0, 3),
        ];
        let short = ask(&short, 2, true).unwrap_err().to_string();
        assert!(short.contains("as the noisy images"), "{short}");
    });
}

#[test]
fn a_server_that_shows_no_weights_is_told_of() {
    remotely(curve_served(Prediction::Eps, false), |remote| {
        assert!(remote.gradient_norms(&question(&rows(), 2, true)).is_none());
        let (x, ids, schedule) = (images(1), ["a".to_owned()], NoiseSchedule::default());
        let mut batch = Batch::new(remote, &schedule, &x, &ids, 0).unwrap();
        let error = Gsa2::default().features(&mut batch).unwrap_err();
        assert!(matches!(error, AttackError::NoGradients), "{error}");
        let words = error.to_string();
        assert!(
            words.contains("keeps its weights to itself") && words.contains("parameters="),
            "{words}"
        );
    });
}

/// A server whose n-th answer to `gradient` is what `answer` gives for n, under this name.
fn odd(
    name: &'static str,
    answer: impl Fn(usize) -> Tensor + Send + 'static,
) -> impl FnOnce(UnixStream) + Send {
    move |mut stream: UnixStream| {
        let (mut buffer, mut writer) = (Vec::new(), Writer::default());
        let mut count = 0;
        while let Ok(asked) = message::read(&mut stream, &mut buffer, 1 << 20, "any") {
            match asked.kind() {
                "hello" => {
                    let settings = [
                        ("version", "1".to_owned()),
                        ("shape", "2,3,3".to_owned()),
                        ("prediction", "eps".to_owned()),
                        ("fingerprint", "f".to_owned()),
                        ("can", "dance,gradient".to_owned()),
                    ];
                    writer.send(&mut stream, "hello", &settings, &[]).unwrap();
                }
                "gradient" => {
                    let shape = [4, 2, 3, 3];
                    let x = asked.tensor("x", &[Kind::Float], &shape).unwrap();
                    let target = asked.tensor("target", &[Kind::Float], &shape).unwrap();
                    let scale = asked.tensor("scale", &[Kind::Float], &[4]).unwrap();
                    let level = asked.tensor("level", &[Kind::Int64], &[4]).unwrap();
                    assert_eq!([&x, &level, &target], rows().each_ref());
                    assert_eq!(scale, scale.ones_like());
                    assert_eq!(
                        (asked.setting("samples"), asked.setting("each")),
                        (Some("2"), Some("1"))
                    );
                    let norms = [(name, &answer(count))];
                    writer.send(&mut stream, "gradient", &[], &norms).unwrap();
                    count += 1;
                }
                _ => return,
            }
        }
    }
}

#[test]
fn answers_that_are_no_norms_get_one_line_with_the_remedy() {
    let full = |shape: &[i64], value: f64| Tensor::full(shape, value, (Kind::Double, Device::Cpu));
    let said = |server: Server| {
        remotely(server, |remote| {
            let rows = rows();
            let ask = || remote.gradient_norms(&question(&rows, 2, true)).unwrap();
            match ask() {
                Ok(_) => ask(),
                failed => failed,
            }
            .unwrap_err()
            .to_string()
        })
    };
    let wrong: [(Server, &str); 8] = [
        (
            Box::new(odd("norms", move |_| full(&[2, 1, 5], 1.0))),
            "of shape [2, 1, 5] and must be of [2, 2, P]",
        ),
        (
            Box::new(odd("norms", move |_| full(&[2, 2, 0], 1.0))),
            "of shape [2, 2, 0] and must be of [2, 2, P]",
        ),
        (
            Box::new(odd("norms", move |_| full(&[20], 1.0))),
            "of shape [20] and must be",
        ),
        (
            Box::new(odd("gradient", move |_| full(&[2, 2, 5], 1.0))),
            "no tensor `norms`",
        ),
        (
            Box::new(odd("norms", move |_| {
                full(&[2, 2, 5], 1.0).to_kind(Kind::Float)
            })),
            "F32 and must be f64",
        ),
        (
            Box::new(odd("norms", move |_| {
                let norms = full(&[2, 2, 5], 1.0);
                let _ = norms.narrow(1, 1, 1).fill_(f64::NAN);
                norms
            })),
            "10 of its 20 values are NaN or infinite, the first of them in image 1",
        ),
        (
            Box::new(odd("norms", move |_| full(&[2, 2, 5], -3.5))),
            "below 0",
        ),
        (
            Box::new(odd("norms", move |n| full(&[2, 2, 5 + n as i64], 1.0))),
            "of 6 parameter tensors, and an earlier answer was of 5",
        ),
    ];
    for (server, words) in wrong {
        let error = said(server);
        assert!(
            error.contains(words) && error.contains("`gradient`"),
            "{words}: {error}"
        );
    }
}

/// What a server could not do is told in its words, and the attack fails with them.
#[test]
fn a_network_without_gradients_says_so() {
    let server = |stream: UnixStream| {
        let curve = Curve::new(Prediction::Eps);
        let served = Served {
            name: "detached".into(),
            fingerprint: Some("detached".into()),
            shape: [2, 3, 3],
            prediction: Prediction::Eps,
            schedule: None,
            predict: Box::new(|x, level| Ok(curve.answer(x, level).detach())),
            generate: None,
            weights: curve.weights(),
        };
        serve(stream, &served).unwrap();
    };
    remotely(server, |remote| {
        let (x, ids, schedule) = (images(1), ["a".to_owned()], NoiseSchedule::default());
        let mut batch = Batch::new(remote, &schedule, &x, &ids, 0).unwrap();
        let error = Gsa1::default()
            .features(&mut batch)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("failed at `gradient`") && error.contains("without gradients"),
            "{error}"
        );
    });
}
