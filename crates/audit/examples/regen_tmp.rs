fn main() {
    let d = std::path::Path::new("docs/results/studies");
    let jobs: [(&str, &[&str], bool, &str); 3] = [
        (
            "fig5-cpu-fashion-16",
            &[],
            false,
            "Images of each model on Fashion-MNIST at 16 px",
        ),
        (
            "fig6-cpu-emoji-t2i",
            &[],
            true,
            "Images for prompts, Fluent emoji at 16 px",
        ),
        (
            "fig7-cpu-emoji-t2i",
            &[],
            true,
            "Images for prompts, Fluent emoji at 16 px",
        ),
    ];
    for (stem, _, numbers, title) in jobs {
        let md = std::fs::read_to_string(d.join(format!(
            "{}.md",
            stem.splitn(3, '-').take(2).collect::<Vec<_>>().join("-")
        )))
        .unwrap();
        let mut labels = Vec::new();
        for line in md.lines() {
            let c: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if c.len() == 3 && (c[1].starts_with("row ") || c[1].parse::<u32>().is_ok()) {
                labels.push(c[2].to_owned());
            }
        }
        let png = std::fs::read(d.join(format!("{stem}.png"))).unwrap();
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        let size = [side(16), side(20)];
        let columns = (size[0] - 2) / 50;
        let above: Vec<String> = if numbers {
            (1..=columns).map(|n| n.to_string()).collect()
        } else {
            vec![]
        };
        eprintln!("{stem} {size:?} {labels:?}");
        assert_eq!(labels.len() as u32, (size[1] - 2) / 50);
        let svg = dualmd_audit::svg::labelled(&png, size, &labels, &above, title);
        std::fs::write(d.join(format!("{stem}.svg")), svg).unwrap();
    }
}
