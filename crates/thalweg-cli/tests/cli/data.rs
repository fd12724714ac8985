//! What `train --data` reads.

use super::*;

/// Images of 28 × 28 in three classes: a bright band in one third, over noise.
fn write_idx(directory: &Path, part: &str, rows: usize, gzip: bool) {
    let mut random = fastrand::Rng::with_seed(rows as u64);
    let labels: Vec<u8> = (0..rows).map(|row| (row % 3) as u8).collect();
    let pixel = |label: u8, i: usize, noise: u8| if i / 262 == usize::from(label) { 120 + noise } else { noise };
    let images = labels.iter().flat_map(|&label| (0..784).map(move |i| (label, i)));
    let images: Vec<u8> = images.map(|(label, i)| pixel(label, i, random.u8(..100))).collect();
    let count = (rows as u32).to_be_bytes();
    let header = |dimensions: u8| [&[0, 0, 8, dimensions][..], &count].concat();
    let size = [0, 0, 0, 28, 0, 0, 0, 28];
    let write = |name: String, content: Vec<u8>| {
        if gzip {
            let mut encoder = flate2::read::GzEncoder::new(&content[..], flate2::Compression::fast());
            let mut packed = Vec::new();
            encoder.read_to_end(&mut packed).expect("packed");
            fs::write(directory.join(name + ".gz"), packed).expect("written");
        } else {
            fs::write(directory.join(name), content).expect("written");
        }
    };
    write(format!("{part}-images-idx3-ubyte"), [header(3), size.to_vec(), images].concat());
    write(format!("{part}-labels-idx1-ubyte"), [header(1), labels].concat());
}

#[test]
fn a_directory_like_mnist_is_learned_with_default_settings() {
    let run = |gzip: bool| {
        let temp = TempDir::new().expect("a directory");
        write_idx(temp.path(), "train", 300, gzip);
        write_idx(temp.path(), "t10k", 60, gzip);
        trained(&["--data", temp.path().to_str().expect("UTF-8")])
    };
    let plain = run(false);
    assert_eq!(plain.len(), 41);
    assert_eq!(plain[0]["steps"], 300usize.div_ceil(64));
    assert!(last_test(&plain).1 > 0.95, "{:?}", plain.last());
    assert_eq!(without_seconds(run(true)), without_seconds(plain));
}

#[test]
fn a_table_is_split_scaled_and_learned() {
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("blobs.csv");
    let mut random = fastrand::Rng::with_seed(3);
    let mut text = String::from("mass,size,kind\n");
    for row in 0..200 {
        // Units apart by nine orders of magnitude: without scaling this is not learned.
        let (kind, side) = if row % 2 == 0 { ("star", 1.0) } else { ("moon", -1.0) };
        text += &format!("{},{},{kind}\n", 1e6 * (100.0 + side + random.f64()), 1e-3 * (side + random.f64()));
    }
    fs::write(&path, text).expect("written");
    let lines = trained(&["--data", path.to_str().expect("UTF-8"), "--batch", "16"]);
    assert_eq!(lines[0]["steps"], 160 / 16);
    assert!(last_test(&lines).1 > 0.95, "{:?}", lines.last());
}

/// Keras and PyTorch take the last, smaller batch too.
#[test]
fn the_last_smaller_batch_is_taken_unless_told_otherwise() {
    let steps = |args: &[&str]| {
        let ran = thalweg(&[&["train", "--engine", "cpu", "--json", "--epochs", "1"], args].concat());
        (ran.data()["steps_per_epoch"].clone(), ran.epochs()[0]["steps"].clone())
    };
    assert_eq!(steps(&[]), (23.into(), 23.into()));
    assert_eq!(steps(&["--drop-last"]), (22.into(), 22.into()));
    assert_eq!(steps(&["--batch", "100000"]), (1.into(), 1.into()));
    assert_eq!(steps(&["--batch", "100000", "--drop-last"]), (1.into(), 1.into()));
}

#[test]
fn the_first_line_says_what_is_trained_on_what() {
    let data = thalweg(&["train", "--engine", "cpu", "--json", "--epochs", "1"]).data();
    let expected: [(&str, Value); 10] = [
        ("rows", 1797.into()),
        ("features", 64.into()),
        ("train_rows", 1438.into()),
        ("test_rows", 359.into()),
        ("steps_per_epoch", 23.into()),
        ("batch", 64.into()),
        ("parameters", (64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10).into()),
        ("rule", "adamw".into()),
        ("lr", 0.001.into()),
        ("engine", "cpu".into()),
    ];
    for (key, value) in expected {
        assert_eq!(data[key], value, "{key}: {data}");
    }
    let classes = data["classes"].as_array().expect("a list");
    assert_eq!((classes.len(), &classes[3]), (10, &serde_json::json!({ "name": "3", "rows": 183 })));

    let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "1"]);
    let mut lines = ran.err.lines();
    let data = "data: digits, 1797 rows of 64 features in 10 classes: 0 (178), 1 (182), 2 (177), 3 (183), 4 (181), 5 (182), \
                6 (181), 7 (179), 8 (174), 9 (180); 1438 rows to train on, 359 to test on";
    assert_eq!(lines.next(), Some(data));
    let run = "run: 23 steps of 64 rows per epoch, 17226 parameters, adamw at a rate of 0.001, cpu engine";
    assert_eq!(lines.next(), Some(run));
}
