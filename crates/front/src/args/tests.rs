//! Every command line of the contract is understood; wrong ones are refused.

use super::*;
use dualmd_experiment::choices::{
    FailOn, ImageFormat, Order, Sampler, SplitMethod, Stage, Weights,
};
use dualmd_experiment::experiment::Source;
use dualmd_experiment::options::{Scale, What};
use dualmd_names::{AttackSpec, BaseAttack};
use std::path::{Path, PathBuf};

fn read(line: &str) -> Cli {
    Cli::read(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    match Cli::read(line.split(' ')) {
        Ok(_) => panic!("{line} was accepted"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{line}");
            error.to_string()
        }
    }
}

#[test]
fn the_definition_is_sound_and_every_command_has_an_example() {
    Cli::definition("0").debug_assert();
    for command in Cli::definition("0").get_subcommands() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            help.contains("Example") && help.contains("dualmd "),
            "{}",
            command.get_name()
        );
    }
}

#[test]
fn demo_is_a_run_of_its_preset() {
    let Command::Demo(demo) = read("dualmd demo").command else {
        panic!()
    };
    let (source, out) = RunArgs::from(demo).resolve().unwrap();
    assert_eq!(
        (source, out),
        (Source::Preset("demo".into()), PathBuf::from("runs/demo"))
    );
}

#[test]
fn workers_are_a_number_or_gpus() {
    let run = |workers: &str| match read(&format!("dualmd run e.toml --workers {workers}")).command
    {
        Command::Run(run) => (run.jobs(), run.workers),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        run("2"),
        (Some("run.jobs=2".into()), Some(Workers::Many(2)))
    );
    let devices = ["cuda:0", "cuda:3"].map(str::to_owned).to_vec();
    assert_eq!(
        run("cuda:0,cuda:3"),
        (Some("run.jobs=2".into()), Some(Workers::On(devices)))
    );
    for wrong in ["0", "-1", "cpu", "auto", "cuda", "cuda:0,", "cuda:x"] {
        let said = refused(&format!("dualmd run e.toml --workers={wrong}"));
        assert!(said.contains("cuda:0,cuda:1"), "{said}");
    }
    let said = refused("dualmd run e.toml --workers cuda:1,cuda:1");
    assert!(said.contains("cuda:1 is named twice"), "{said}");
}

#[test]
fn run_takes_a_file_a_preset_or_a_folder() {
    let run = |line: &str| match read(line).command {
        Command::Run(run) => run,
        other => panic!("{other:?}"),
    };
    let args = run(
        "dualmd run a/mine.toml --set train.steps=3 --set data.members=8 --until train --seed 4 --dtype bf16",
    );
    assert_eq!(
        args.resolve().unwrap(),
        (
            Source::File("a/mine.toml".into()),
            PathBuf::from("runs/mine")
        )
    );
    assert_eq!((args.set.len(), args.until), (2, Stage::Train));
    let (_, out) = run("dualmd run --preset emoji-32").resolve().unwrap();
    assert_eq!(out, Path::new("runs/emoji-32"));
    refused("dualmd run mine.toml --preset demo");
    assert!(
        run("dualmd run")
            .resolve()
            .unwrap_err()
            .to_string()
            .contains("nothing to run")
    );

    let folder = tempfile::tempdir().unwrap();
    let line = format!("dualmd run --out {}", folder.path().display());
    assert!(
        run(&line)
            .resolve()
            .unwrap_err()
            .to_string()
            .contains("holds no run")
    );
    std::fs::write(folder.path().join("experiment.toml"), "").unwrap();
    assert_eq!(
        run(&line).resolve().unwrap().0,
        Source::File(folder.path().join("experiment.toml"))
    );
}

#[test]
fn common_flags_stand_before_or_after_the_command() {
    for line in [
        "dualmd --seed 4 --device cuda:1 --dtype bf16 --threads 2 -vv --log-format json selftest",
        "dualmd selftest --seed 4 --device cuda:1 --dtype bf16 --threads 2 -v -v --log-format json",
    ] {
        let global = read(line).global;
        assert_eq!(global.sets(), ["seed=4", "train.dtype=bf16"]);
        assert_eq!(
            (global.device.as_str(), global.threads, global.verbose),
            ("cuda:1", Some(2), 2)
        );
        assert_eq!(global.log_format, LogFormat::Json);
    }
    assert!(read("dualmd selftest").global.sets().is_empty());
    refused("dualmd selftest -q -v");
    refused("dualmd selftest --threads 0");
    refused("dualmd selftest --dtype f16");
    refused("dualmd selftest --seed -1");
    assert!(refused("dualmd selftest --device gpu").contains("cuda:N"));
}

#[test]
fn every_command_that_concludes_something_has_json() {
    for command in [
        "audit",
        "run",
        "tune",
        "demo",
        "report",
        "compare",
        "roc",
        "extract",
        "lira",
        "memorisation",
        "metrics",
        "lora-size",
        "verify",
        "selftest",
        "jobs",
    ] {
        let page = refused_help(&format!("dualmd {command} -h"));
        assert!(page.contains("--json"), "{command}: {page}");
    }
}

#[test]
fn short_help_is_shorter_wherever_a_flag_has_more_to_say() {
    for command in Cli::definition("0").get_subcommands() {
        let longer = command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set() && arg.get_long_help().is_some());
        let name = command.get_name();
        if longer.count() == 0 || command.has_subcommands() {
            continue;
        }
        let [short, long] =
            ["-h", "--help"].map(|flag| refused_help(&format!("dualmd {name} {flag}")));
        assert!(short.len() < long.len(), "{name}");
        assert!(short.contains("Example"), "{name}: {short}");
    }
}

#[test]
fn help_shows_a_common_flag_only_where_it_does_something() {
    let help = |command: &str| refused_help(&format!("dualmd {command} --help"));
    for command in ["roc", "report", "export split", "list"] {
        let page = help(command);
        assert!(
            !page.contains("--seed") && !page.contains("--device"),
            "{page}"
        );
    }
    for command in ["audit", "run", "attack", "sample"] {
        let page = help(command);
        assert!(
            page.contains("--seed") && page.contains("--device"),
            "{page}"
        );
    }
    for (command, shown, hidden) in [
        ("report", "--quiet", "--verbose"),
        ("verify", "--log-format", "--threads"),
        ("selftest", "--threads", "--device"),
        ("metrics", "--device", "--dtype"),
        ("split", "--seed", "--verbose"),
        ("lora-size", "--json", "--threads"),
        ("list", "attacks", "--quiet"),
    ] {
        let page = help(command);
        assert!(
            page.contains(shown) && !page.contains(hidden),
            "{command}: {page}"
        );
    }
    let pages = help("audit");
    for heading in [
        "Model:",
        "Images:",
        "Attacks:",
        "Generated images:",
        "Report:",
    ] {
        assert!(
            pages.contains(&format!("\n{heading}\n")),
            "{heading} {pages}"
        );
    }
    // Scripts may give it all the same, before or after.
    for line in [
        "dualmd --seed 3 roc a.csv",
        "dualmd roc a.csv --seed 3",
        "dualmd export split a -o b --seed 3",
    ] {
        assert_eq!(read(line).global.seed, Some(3), "{line}");
    }
}

fn refused_help(line: &str) -> String {
    Cli::read(line.split(' ')).unwrap_err().to_string()
}

#[test]
fn training_can_be_cut_into_slots() {
    let line =
        "dualmd train e.toml --model teacher-1 --out runs/x --max-steps-now 100 --progress-json";
    let Command::Train(train) = read(line).command else {
        panic!()
    };
    assert_eq!(
        (
            train.model.as_str(),
            train.max_steps_now,
            train.progress_json
        ),
        ("teacher-1", Some(100), true)
    );
    refused("dualmd train e.toml --model x --out y --max-steps-now 0");
    refused("dualmd train e.toml --out y");
}

#[test]
fn trainings_are_shared_by_workers() {
    let Command::Work(work) = read("dualmd work runs/x").command else {
        panic!()
    };
    assert_eq!(work.folder, Path::new("runs/x"));
    assert_eq!((work.once, work.wait, work.lease), (false, None, 120));
    let Command::Work(work) = read("dualmd work runs/x --once --wait 0 --lease 5").command else {
        panic!()
    };
    assert_eq!((work.once, work.wait, work.lease), (true, Some(0), 5));
    let Command::Jobs(jobs) = read("dualmd jobs runs/x --slurm").command else {
        panic!()
    };
    assert!(jobs.slurm && !jobs.json);
    let Command::Lira(lira) = read("dualmd lira e.toml --prepare").command else {
        panic!()
    };
    assert!(lira.prepare);
    refused("dualmd work");
    refused("dualmd work runs/x --lease 0");
    refused("dualmd jobs runs/x --slurm --json");
}

#[test]
fn one_or_two_models_are_sampled() {
    let line = "dualmd sample a b -n 8 --sampler ddpm --noise x.npy --order random-step -o out --format npy";
    let Command::Sample(sample) = read(line).command else {
        panic!()
    };
    assert_eq!((sample.n, sample.sampler), (8, Sampler::Ddpm));
    assert_eq!(
        (sample.order, sample.format),
        (Order::RandomStep, ImageFormat::Npy)
    );
    let Command::Sample(sample) = read("dualmd sample a -n 8 -o out").command else {
        panic!()
    };
    assert_eq!((sample.weights, sample.model2), (Weights::Ema, None));
    let line =
        "dualmd sample a -n 8 --prompt x --guidance-from 500 --early-guidance -2 --sail -o out";
    let Command::Sample(sample) = read(line).command else {
        panic!("{line}")
    };
    let early = (sample.guidance_from, sample.early_guidance);
    assert_eq!(early, (Some(500), -2.0));
    assert_eq!((sample.sail, sample.sail_target), (true, 8.2));
    refused("dualmd sample a -n 8 --early-guidance -2 -o out");
    refused("dualmd sample a -n 8 --sail --mitigate wen -o out");
    refused("dualmd sample a -n 8 --order second -o out");
    refused("dualmd sample a -n 0 -o out");
    refused("dualmd sample a -n 1 --steps 1001 -o out");
}

#[test]
fn attack_and_audit_read_the_same_flags() {
    let flags = "a b --members x#member --nonmembers x#nonmember --attacks loss,sima --split s.json --weights raw --batch 8";
    let Command::Attack(attack) = read(&format!("dualmd attack {flags} -o scores.csv")).command
    else {
        panic!()
    };
    assert_eq!(
        attack.score.attacks,
        [BaseAttack::Loss, BaseAttack::SimA].map(AttackSpec::from)
    );
    assert_eq!(
        attack.score.models,
        [PathBuf::from("a"), PathBuf::from("b")]
    );
    let Command::Audit(audit) = read(&format!("dualmd audit {flags} -o out")).command else {
        panic!()
    };
    assert_eq!((audit.score.weights, audit.score.batch), (Weights::Raw, 8));
    refused("dualmd attack a --members x -o scores.csv");
    let sides = "--members x --nonmembers y -o out";
    let Command::Audit(audit) = read(&format!(
        "dualmd audit --model a=x/y --model b=z=w --pair c d {sides}"
    ))
    .command
    else {
        panic!()
    };
    assert_eq!(audit.score.named[1], ("b".to_owned(), PathBuf::from("z=w")));
    assert_eq!(audit.score.pair, [PathBuf::from("c"), PathBuf::from("d")]);
    assert!(audit.score.models.is_empty());
    for wrong in [
        "--batch 3",
        "--model x",
        "--model ../a=x",
        "--model =x",
        "--pair c",
    ] {
        refused(&format!("dualmd audit {wrong} {sides}"));
    }
}

#[test]
fn work_is_shared_by_parts_from_1_to_n() {
    let sides = "--members x --nonmembers y";
    let attack = format!("dualmd attack a {sides} -o s.csv");
    let lines = [
        attack.clone(),
        format!("dualmd audit a {sides} -o out"),
        "dualmd sample a -n 8 -o out".to_owned(),
    ];
    for line in &lines {
        let part = |line: &str| match read(line).command {
            Command::Attack(args) => args.part.part,
            Command::Audit(args) => args.part.part,
            Command::Sample(args) => args.part.part,
            other => panic!("{other:?}"),
        };
        assert_eq!(part(line), None);
        let share = part(&format!("{line} --part 3/8")).unwrap();
        assert_eq!(share.to_string(), "3/8");
        for wrong in ["0/8", "9/8", "1/0", "3", "a/8", "1/b", "/8"] {
            let said = refused(&format!("{line} --part {wrong}"));
            assert!(said.contains("--part"), "{said}");
        }
    }
    assert!(refused(&format!("{attack} --part 9/8")).contains("the last 8/8"));
    refused(&format!("dualmd audit a {sides} -o out --check --part 1/2"));
}

#[test]
fn what_to_fail_on_is_named_by_the_findings_of_a_report() {
    for line in [
        "dualmd audit m --members a --nonmembers b -o c",
        "dualmd run e.toml",
        "dualmd demo",
        "dualmd report r",
    ] {
        let line = format!("{line} --fail-on leak,void");
        let fail = match read(&line).command {
            Command::Audit(args) => args.fail,
            Command::Run(args) => args.fail,
            Command::Demo(args) => args.fail,
            Command::Reading(Reading::Report(args)) => args.fail,
            other => panic!("{other:?}"),
        };
        assert_eq!(fail.fail_on, [FailOn::Leak, FailOn::Void], "{line}");
    }
    refused("dualmd report r --fail-on leaks");
    refused("dualmd roc s.csv --fail-on leak --compat pia");
}

#[test]
fn files_are_split_measured_and_exchanged() {
    let Command::Split(split) =
        read("dualmd split fashion --members 64 --nonmembers 512 -o s.json").command
    else {
        panic!()
    };
    assert_eq!(
        (split.options.members, split.options.method),
        (64, SplitMethod::Half)
    );
    assert!(refused("dualmd split fashion -o s.json").contains("--members"));
    read("dualmd split fashion --members 64 --method coin-flip -o s.json");

    let Command::Reading(Reading::Roc(roc)) = read("dualmd roc s.csv").command else {
        panic!()
    };
    assert_eq!(roc.fpr, [0.1, 0.01, 0.001]);
    let Command::Reading(Reading::Roc(roc)) =
        read("dualmd roc s.csv --fpr 0.1,0.01 --json").command
    else {
        panic!()
    };
    assert_eq!((roc.fpr.len(), roc.json), (2, true));
    assert!(refused("dualmd roc s.csv --fpr 1.5").contains("between 0 and 1"));

    for line in [
        "dualmd tune base --images photos -o out --rank 8 --epochs 20 --rival early-stopping,dp-sgd --epsilon 4 --seeds 3",
        "dualmd tune base --images photos -o out --caption-model blip --captions 3 --members 8 --fail-on leak",
        "dualmd predict m --x x.npy --t t.npy -o eps.npy",
        "dualmd report runs/demo",
        "dualmd import split a.npz --data cifar -o s.json",
        "dualmd import unet a.safetensors --config c.json -o m",
        "dualmd import unet transformer/ --scheduler s.json --autoencoder vae/ -o m",
        "dualmd export split s.json -o s.csv",
        "dualmd export copy m -o n --raw",
        "dualmd export evidence runs/demo -o e --salt e.salt",
        "dualmd verify e --root 0a",
        "dualmd verify e --image a.png --with e.salt",
        "dualmd list attacks",
        "dualmd list defenses",
        "dualmd list presets",
        "dualmd list datasets",
    ] {
        read(line);
    }
    refused("dualmd list models");
    refused("dualmd tune base -o out");
    refused("dualmd tune base --images photos -o out --captions 3");
    refused("dualmd tune base --images photos -o out --epsilon 4");
    refused("dualmd tune base --images photos -o out --rival nothing");
    refused("dualmd verify e --image a.png");
    refused("dualmd verify e --with e.salt");
    refused("dualmd frobnicate");
}

#[test]
fn tables_are_named_and_image_sets_are_pairs() {
    let line = "dualmd reproduce table10 --scale paper --data cifar10=a=b --split cifar10=c.npz --only cifar10,stl10 --seeds 5 --dry-run";
    let Command::Reproduce(args) = read(line).command else {
        panic!()
    };
    assert_eq!((args.what, args.scale), (What::Table10, Scale::Paper));
    assert_eq!(args.data, [("cifar10".to_owned(), "a=b".to_owned())]);
    assert_eq!(args.only, ["cifar10", "stl10"]);
    assert_eq!((args.seeds, args.dry_run), (5, true));
    let Command::Reproduce(args) = read("dualmd reproduce fig5").command else {
        panic!()
    };
    assert_eq!((args.scale, args.seeds), (Scale::Cpu, 3));
    assert_eq!(args.out, Path::new("runs/reproduce"));
    let line = "dualmd reproduce defenses --rows early-stopping,kd --from runs/a runs/b --seeds 1";
    let Command::Reproduce(args) = read(line).command else {
        panic!()
    };
    assert_eq!(args.what, What::Defenses);
    assert_eq!(args.rows, ["early-stopping", "kd"]);
    assert_eq!(args.from, [Path::new("runs/a"), Path::new("runs/b")]);
    assert!(!args.collect);
    let line = "dualmd reproduce by-loss --from grey=findings.csv runs/b";
    let Command::Reproduce(args) = read(line).command else {
        panic!()
    };
    assert_eq!(args.what, What::ByLoss);
    assert_eq!(
        args.from,
        [Path::new("grey=findings.csv"), Path::new("runs/b")]
    );
    for wrong in [
        "table6",
        "table3 --seeds 0",
        "table3 --data cifar10",
        "defenses --collect --rows kd",
    ] {
        refused(&format!("dualmd reproduce {wrong}"));
    }
}

/// The pages that a user reads.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("docs")];
    let mut pages = vec![root.join("README.md"), root.join("python/README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|e| e.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("md") => pages.push(path),
                _ => {}
            }
        }
    }
    pages
}

/// The words of a line as a shell takes them; without a comment at its end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut begun) = (vec![String::new()], None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (None, ' ') if begun => (words, begun) = ([words, vec![String::new()]].concat(), false),
            (None, ' ') => {}
            // A remark, or a file that what is printed goes to.
            (None, '#' | '>') if !begun => break,
            (_, c) => {
                words.last_mut().unwrap().push(c);
                begun = true;
            }
        }
    }
    if !begun {
        words.pop();
    }
    words
}

/// Commands that pages print: those on lines of their own, which must be understood as they stand; and those in running text.
fn printed(page: &str) -> (Vec<String>, Vec<String>) {
    let joined = page.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim_start);
    let whole = lines
        .filter(|l| l.starts_with("dualmd "))
        .map(str::to_owned);
    let quoted = page.split('`').skip(1).step_by(2);
    let inline = quoted.filter(|q| q.starts_with("dualmd ") && !q.contains('\n'));
    (whole.collect(), inline.map(str::to_owned).collect())
}

/// Does a command have what a line names? `Err`: what it lacks. Of the Python package's own command nothing is known here.
fn known(words: &[String]) -> Result<(), String> {
    let program = Cli::definition("0");
    let mut command = &program;
    for word in words.iter().skip(1) {
        match command.find_subcommand(word) {
            Some(found) => command = found,
            None => break,
        }
    }
    let first = words.get(1).map_or("", String::as_str);
    if std::ptr::eq(command, &program) && !first.starts_with('-') && first != "setup" {
        return Err(format!("no command {first}"));
    }
    let all: Vec<&clap::Arg> = command
        .get_arguments()
        .chain(program.get_arguments())
        .collect();
    let has = |flag: &str| all.iter().any(|a| a.get_long() == Some(flag));
    let flags = words.iter().filter_map(|w| w.strip_prefix("--"));
    let missing: Vec<&str> = flags
        .map(|f| f.split('=').next().unwrap_or(f))
        .filter(|f| !has(f) && !["help", "version"].contains(f))
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(format!("no --{}", missing.join(", --"))),
    }
}

#[test]
fn the_commands_of_the_documents_are_understood() {
    let (mut read, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let (whole, inline) = printed(&text);
        for line in &whole {
            let words = words(line);
            // Three dots stand for what is said elsewhere, but where they are a value.
            let dots = |i: usize| words[i] == "..." && !words[i - 1].starts_with("--");
            let result = match (1..words.len()).any(dots) || words[1] == "setup" {
                true => known(&words),
                false => Cli::read(&words).map(drop).map_err(|e| e.to_string()),
            };
            read += 1;
            wrong.extend(result.err().map(|why| format!("{name}: {line}: {why}")));
        }
        for line in &inline {
            let found = known(&words(line));
            read += 1;
            wrong.extend(found.err().map(|why| format!("{name}: `{line}`: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read > 150, "{read} commands were found");
}

#[test]
fn a_wrong_command_of_a_document_would_be_found() {
    assert_eq!(
        words("dualmd sample m --prompt \"a red chair\" -o 'x y'/ photos/#member  # why"),
        [
            "dualmd",
            "sample",
            "m",
            "--prompt",
            "a red chair",
            "-o",
            "x y/",
            "photos/#member"
        ]
    );
    let lacks = |line: &str| known(&words(line)).unwrap_err();
    assert_eq!(lacks("dualmd audits x"), "no command audits");
    assert_eq!(lacks("dualmd audit x --fail-off leak ..."), "no --fail-off");
    assert_eq!(lacks("dualmd export images --lora"), "no --lora");
    known(&words("dualmd export images x --split=s -q")).unwrap();
}

/// The user's own defaults stand in for what is not typed, and for nothing else.
#[test]
fn own_defaults_give_way_to_what_is_typed() {
    let own = Defaults {
        threads: Some(3),
        device: Some("cuda:1".into()),
        auditor: Some("A. Name".into()),
    };
    let read = |line: &str| Cli::read_with(line.split(' '), "0", own.clone()).unwrap();
    let cli = read("dualmd demo");
    assert_eq!(cli.global.threads, Some(3));
    assert_eq!(cli.global.device, "cuda:1");
    let Command::Demo(demo) = cli.command else {
        panic!()
    };
    assert_eq!(demo.auditor.as_deref(), Some("A. Name"));
    let cli = read("dualmd demo --threads 2 --device cpu --auditor B");
    assert_eq!(cli.global.threads, Some(2));
    assert_eq!(cli.global.device, "cpu");
    let Command::Demo(demo) = cli.command else {
        panic!()
    };
    assert_eq!(demo.auditor.as_deref(), Some("B"));
    // A command without an auditor is as it was.
    assert_eq!(read("dualmd selftest --threads 1").global.threads, Some(1));
    assert_eq!(read("dualmd list attacks").global.threads, Some(3));
}
