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
fn images_of_a_directory_like_mnist_are_learned_by_convolutions() {
    let run = |gzip: bool| {
        let temp = TempDir::new().expect("a directory");
        write_idx(temp.path(), "train", 150, gzip);
        write_idx(temp.path(), "t10k", 30, gzip);
        let data = temp.path().to_str().expect("UTF-8");
        let ran = thalweg(&["train", "--engine", "cpu", "--json", "--data", data, "--model", "cnn", "--epochs", "2"]);
        // 32, 64 and 64 channels with their norms, a linear layer over 7 × 7 places of 64 channels with its norm, and the last.
        let convolutions = 10 * 32 + 64 + (9 * 32 + 1) * 64 + 128 + (9 * 64 + 1) * 64 + 128;
        let linear = (49 * 64 + 1) * 128 + 256 + (128 + 1) * 3;
        assert_eq!(ran.data()["parameters"], convolutions + linear, "{}", ran.out);
        ran.epochs()
    };
    let plain = run(false);
    assert_eq!(last_test(&plain).1, 1.0, "{:?}", plain.last());
    assert_eq!(without_seconds(run(true)), without_seconds(plain));
}

#[test]
fn a_table_is_split_scaled_and_learned() {
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("blobs.csv");
    let mut random = fastrand::Rng::with_seed(3);
    let mut text = String::from("mass,size,kind\n");
    for row in 0..200 {
        // The units differ by nine orders of magnitude: without scaling this cannot be learned.
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
                6 (181), 7 (179), 8 (174), 9 (180); 1438 rows to train on, 359 to test on (0.2 of each class)";
    assert_eq!(lines.next(), Some(data));
    let run = "run: 23 steps per epoch of 64 rows, the last of 30; 17226 parameters, adamw at a rate of 0.001, cpu engine";
    assert_eq!(lines.next(), Some(run));
}

/// Rows of three classes that are far apart in two of four numbers, as in the iris data.
fn flowers(header: &str, label: impl Fn(usize, [f64; 4]) -> String) -> String {
    let mut random = fastrand::Rng::with_seed(5);
    let mut text = String::from(header);
    for row in 0..150 {
        let kind = row / 50;
        let x: [f64; 4] = std::array::from_fn(|i| if i < 2 { 2.0 * kind as f64 + random.f64() } else { random.f64() });
        text += &label(kind, x.map(|x| (x * 100.0).round() / 100.0));
    }
    text
}

fn last(names: [&str; 3]) -> impl Fn(usize, [f64; 4]) -> String {
    move |kind, [a, b, c, d]| format!("{a},{b},{c},{d},{}\n", names[kind])
}

/// A run of a few epochs, to see how the data were read.
fn read(text: &str, args: &[&str]) -> Ran {
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("rows.csv");
    fs::write(&path, text).expect("written");
    let common = ["train", "--engine", "cpu", "--json", "--epochs", "1", "--data", path.to_str().expect("UTF-8")];
    thalweg(&[&common, args].concat())
}

fn names(data: &Value) -> Vec<(&str, u64)> {
    let classes = data["classes"].as_array().expect("a list").iter();
    classes.map(|class| (class["name"].as_str().expect("a name"), class["rows"].as_u64().expect("a number"))).collect()
}

#[test]
fn a_header_of_numbers_and_a_name_is_no_row() {
    for names_of in [["0", "1", "2"], ["setosa", "versicolor", "virginica"]] {
        let data = read(&flowers("0,1,2,3,y\n", last(names_of)), &[]).data();
        assert_eq!(names(&data), names_of.map(|name| (name, 50)));
        assert_eq!((&data["csv"]["header"], &data["rows"], &data["features"]), (&true.into(), &150.into(), &4.into()));
        let told = read(&flowers("0,1,2,3,y\n", last(names_of)), &["--header", "no"]);
        // As a row, its label would be no number, or a class of its own.
        assert!(told.code == Some(1) || names(&told.data()).len() == 4, "{told:?}");
    }
}

/// Without any option, with 100 % on classes that are easy to separate.
#[test]
fn flowers_are_learned_from_the_command_line_alone() {
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("flowers.csv");
    fs::write(
        &path,
        flowers(",a,b,c,d,species\n", {
            let count = std::cell::Cell::new(0);
            move |kind, [a, b, c, d]| {
                count.set(count.get() + 1);
                format!("{},{a},{b},{c},{d},{}\n", count.get() - 1, ["iris", "lily", "rose"][kind])
            }
        }),
    )
    .expect("written");
    let ran = thalweg(&["train", "--engine", "cpu", "--data", path.to_str().expect("UTF-8")]);
    assert!(ran.out.starts_with("test accuracy 100.00 %"), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().take(3).collect();
    assert!(lines[0].contains("150 rows of 4 features in 3 classes: iris (50), lily (50), rose (50); the label is column 6 'species', the first line is a header; 120 rows to train on, 30 to test on (0.2 of each class)"), "{lines:?}");
    assert_eq!(
        lines[1],
        "run: 2 steps per epoch of 64 rows, the last of 56; 9091 parameters, adamw at a rate of 0.001, cpu engine"
    );
    assert_eq!(lines[2], "column 1, an index without a name, as pandas writes it, is left out");
}

#[test]
fn a_label_in_another_column_needs_the_option() {
    let text = flowers("label,p0,p1,p2,p3\n", |kind, [a, b, c, d]| format!("{kind},{a},{b},{c},{d}\n"));
    let refused = read(&text, &[]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    let expected = "rows.csv: which is the label, column 1 'label' or the last, column 5 'p3'? Say it with --target\n";
    assert!(refused.err.ends_with(expected), "{refused:?}");
    for target in ["label", "Label", "1", "first"] {
        let data = read(&text, &["--target", target]).data();
        assert_eq!((names(&data).len(), &data["csv"]["label"]), (3, &"column 1 'label'".into()), "{target}");
    }
    let data = read(&text, &["--target", "label", "--ignore", "p0,p1", "--ignore", "5"]).data();
    assert_eq!((&data["features"], data["csv"]["left_out"].as_array().map(Vec::len)), (&1.into(), Some(3)));
}

#[test]
fn labels_are_values_and_what_looks_like_none_is_refused() {
    let data = read(&flowers("", last(["-1", "7", "65535"])), &[]).data();
    assert_eq!(names(&data), [("-1", 50), ("7", 50), ("65535", 50)]);
    assert_eq!(data["parameters"], 4 * 128 + 128 + 128 * 64 + 64 + 64 * 3 + 3);
    let number = std::cell::Cell::new(0);
    let counted = |_: usize, [a, b, c, d]: [f64; 4]| {
        number.set(number.get() + 1);
        format!("{a},{b},{c},{d},{}\n", number.get() % 71)
    };
    let cases = [
        (
            flowers("", last(["0", "1", "NA"])),
            "line 101, column 5: the label 'NA' stands for a missing value; --missing drop leaves",
        ),
        (flowers("", last(["0", "0", "0"])), "column 5 has the label '0' in all 150 rows"),
        (
            flowers("", last(["0", "1.5", "2"])),
            "line 51, column 5: the label '1.5' is a fraction, so the column looks like a quantity",
        ),
        (flowers("", counted), "column 5 has 71 different numbers in 150 rows, which looks like a quantity, not like classes"),
    ];
    for (text, expected) in cases {
        let ran = read(&text, &["--task", "classification"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
    let ran = read(&flowers("", last(["setosa", "Setosa", "iris"])), &[]);
    assert_eq!(ran.data()["csv"]["warnings"], serde_json::json!(["the classes 'Setosa' and 'setosa' differ only in case"]));
}

#[test]
fn missing_cells_texts_and_other_delimiters_are_reported_and_read() {
    let text = flowers("a;b;side;d;kind\n", |kind, [a, b, c, d]| {
        let side = if c < 0.5 { "left" } else { "right" };
        let d = if d < 0.1 { "NA".into() } else { d.to_string() };
        format!("{a};{b};{side};{d};{kind}\n")
    });
    let gaps = text.matches("NA").count();
    let refused = read(&text, &[]);
    let ways = "stands for a missing value; --missing drop leaves such rows out, mean fills in the mean of the column";
    assert!(gaps > 3 && refused.err.contains(&format!("column 4: the cell 'NA' {ways}")), "{refused:?}");
    let dropped = read(&text, &["--missing", "drop"]).data();
    assert_eq!(
        (&dropped["csv"]["dropped"], &dropped["rows"], &dropped["csv"]["delimiter"]),
        (&gaps.into(), &(150 - gaps).into(), &";".into())
    );
    let filled = read(&text, &["--missing", "mean"]).data();
    assert_eq!((&filled["csv"]["filled"], &filled["rows"], &filled["features"]), (&gaps.into(), &150.into(), &5.into()));
    let categories = serde_json::json!([{ "column": "column 3 'side'", "texts": ["left", "right"] }]);
    assert_eq!(filled["csv"]["categories"], categories);
    let bars = text.replace(';', "|");
    assert_eq!(read(&bars, &["--missing", "mean", "--delimiter", "|"]).data()["features"], 5);
    let comma = read(&text.replace('.', ","), &["--missing", "mean"]);
    assert!(comma.err.contains("has a decimal comma; numbers are written with a point ("), "{comma:?}");
}

#[test]
fn a_test_set_is_a_fraction_or_a_file() {
    let temp = TempDir::new().expect("a directory");
    let test = temp.path().join("test.csv");
    fs::write(&test, "species,d,c,b,a\nrose,0.5,0.5,4.5,4.5\niris,0.5,0.5,0.5,0.5\n").expect("written");
    let test = test.to_str().expect("UTF-8");
    let text = flowers("a,b,c,d,species\n", last(["iris", "lily", "rose"]));
    let data = read(&text, &["--test", test]).data();
    assert_eq!((&data["train_rows"], &data["test_rows"], &data["test"]), (&150.into(), &2.into(), &test.into()));
    let data = read(&text, &["--test-fraction", "0.5"]).data();
    assert_eq!((&data["train_rows"], &data["test_rows"]), (&75.into(), &75.into()));
    let nowhere = read(&text, &["--test", "nowhere.csv"]);
    let takes = "nowhere.csv: no such file or directory; --test takes a CSV file, or - for standard input\n";
    assert!(nowhere.err.ends_with(takes), "{nowhere:?}");
    let folder = read(&text, &["--test", temp.path().to_str().expect("UTF-8")]);
    assert!(folder.err.contains(": is a directory; --test takes a CSV file"), "{folder:?}");
}

#[test]
fn a_table_may_come_on_standard_input() {
    let text = flowers("a,b,c,d,species\n", last(["iris", "lily", "rose"]));
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast()).read_to_end(&mut packed).expect("packed");
    for content in [text.into_bytes(), packed] {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).and_then(|()| file.rewind()).expect("rows");
        let mut command = command(&["train", "--engine", "cpu", "--json", "--epochs", "1", "--data", "-"]);
        command.stdin(file);
        assert_eq!(finish(command).data()["rows"], 150);
    }
    let temp = TempDir::new().expect("a directory");
    let train = temp.path().join("train.csv");
    fs::write(&train, flowers("a,b,c,d,species\n", last(["iris", "lily", "rose"]))).expect("written");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"species,a,b,c,d\nrose,4,4,0,0\n").and_then(|()| file.rewind()).expect("rows");
    let path = train.to_str().expect("UTF-8");
    let mut command =
        command(&["train", "--engine", "cpu", "--json", "--quiet", "--epochs", "1", "--data", path, "--test", "-"]);
    command.stdin(file);
    let ran = finish(command);
    assert_eq!((ran.err.as_str(), &ran.data()["test_rows"], &ran.data()["test"]), ("", &1.into(), &"standard input".into()));
    let empty = thalweg(&["train", "--data", "-"]);
    assert!(empty.code == Some(1) && empty.err.ends_with("error: standard input: the file is empty\n"), "{empty:?}");
}

/// A file that unpacks to more than the memory, and one without end.
#[test]
fn memory_is_bounded_while_reading() {
    let temp = TempDir::new().expect("a directory");
    let bomb = temp.path().join("bomb.csv.gz");
    let rows = std::iter::repeat_n(*b"1,2,0\n", 10 << 20).flatten().collect::<Vec<u8>>();
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&rows[..], flate2::Compression::fast()).read_to_end(&mut packed).expect("packed");
    fs::write(&bomb, packed).expect("written");
    let ran = thalweg(&["train", "--data", bomb.to_str().expect("UTF-8"), "--max-memory", "1M"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
    assert!(ran.err.ends_with(": the content is larger than 1048576 bytes, which is --max-memory\n"), "{ran:?}");
    #[cfg(unix)]
    {
        let zero = thalweg(&["train", "--data", "/dev/zero"]);
        assert_eq!(zero.err, "error: /dev/zero: binary data, where the text of a table is expected\n");
    }
}

#[test]
fn too_much_memory_is_refused_with_both_numbers() {
    let wide = vec!["65536"; 400].join(",");
    let cases: [(&[&str], &str); 5] = [
        (
            &["train", "--hidden", "65536,65536", "--max-memory", "1G"],
            "a network of 4299948042 parameters (--hidden 65536,65536) with adamw and its data takes 112.1 GiB",
        ),
        (&["train", "--hidden", &wide], " of memory, and "),
        (&["train", "--batch", "1000", "--max-memory", "100K"], "and 100.0 KiB are available"),
        (
            &["bench", "--n", "18446744073709551615"],
            "a row over 18446744073709551615 parameters (--n) takes 256.0 EiB of memory, and ",
        ),
        (
            &["bench", "--n", "64,1000000000000000", "--engine", "cpu"],
            "a row over 1000000000000000 parameters (--n) takes 14.2 PiB of memory, and ",
        ),
    ];
    for (args, expected) in cases {
        let ran = thalweg(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
        assert!(ran.err.contains(expected) && ran.err.ends_with(" are available\n"), "{expected}: {}", ran.err);
    }
}

/// Neither cells nor names of files control the terminal.
#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let red = "\u{1b}[31mred";
    let named = read(&flowers("", last(["a", "b", red])), &[]);
    assert_eq!(names(&named.data())[0].0, red, "JSON has its own escapes");
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("rows.csv");
    fs::write(&path, flowers(&format!("{red},b,c,d,kind\n"), last(["a", "b", red]))).expect("written");
    let path = path.to_str().expect("UTF-8");
    let runs = [
        thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--data", path]),
        thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--data", path, "--ignore", "1"]),
        thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--data", path, "--target", "q"]),
        thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--data", &format!("{path}{red}")]),
    ];
    for ran in runs {
        let all = format!("{}{}", ran.out, ran.err);
        assert!(!all.contains('\u{1b}') && all.contains("\\u{1b}"), "{ran:?}");
    }
}

/// A folder without permission is not reported as a missing file. Root may enter every folder, so as root the program runs as
/// another user.
#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_entered_is_an_error() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let temp = TempDir::new().expect("a directory");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    mode(temp.path(), 0o755);
    let closed = temp.path().join("closed");
    fs::create_dir(&closed).expect("made");
    let path = closed.join("rows.csv");
    fs::write(&path, "1,0\n2,1\n").expect("written");
    // A copy of the program that every user may run.
    let program = temp.path().join("thalweg");
    fs::copy(env!("CARGO_BIN_EXE_thalweg"), &program).expect("copied");
    mode(&program, 0o755);
    mode(&closed, 0o000);
    let mut command = Command::new(&program);
    command.args(["train", "--data", path.to_str().expect("UTF-8")]).stdin(Stdio::null());
    if temp.path().metadata().expect("a folder").uid() == 0 {
        command.uid(65534);
    }
    let ran = finish(command);
    mode(&closed, 0o755);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.ends_with("rows.csv: permission denied: a folder on the way may not be entered\n"), "{ran:?}");
}

/// While reading, the program may end at once without losing anything; a pipe may be silent for ever.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_reading_of_data() {
    let mut child = command(&["train", "--engine", "cpu", "--data", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Kept open to the end, since waiting closes a standard input that was not taken.
    let _stdin = child.stdin.take().expect("piped");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    assert!(stderr.read_line(&mut line).expect("a line") > 0);
    assert_eq!(line, "reading a table from standard input\n");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(killed.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("UTF-8");
    assert_eq!(rest, "interrupted while reading the data\n");
}

/// Files in the forms of scikit-learn and others are read without an option.
#[test]
fn counts_blanks_and_labels_in_front_are_seen() {
    let counts = read(&flowers("150,4,iris,lily,rose\n", last(["0", "1", "2"])), &[]).data();
    assert_eq!(names(&counts), [("iris", 50), ("lily", 50), ("rose", 50)]);
    assert_eq!((&counts["csv"]["counts"], &counts["csv"]["header"]), (&true.into(), &false.into()));
    let blanks = flowers("a,b,c,d,kind\n", last(["0", "1", "2"])).replace(',', "   ");
    for args in [&[][..], &["--delimiter", "space"], &["--delimiter", " "]] {
        let data = read(&blanks, args).data();
        assert_eq!((names(&data).len(), &data["features"], &data["csv"]["delimiter"]), (3, &4.into(), &" ".into()));
    }
    let front = flowers("", |kind, [a, b, c, d]| format!("{kind},{a},{b},{c},{d}\n"));
    let asked = read(&front, &[]);
    let expected = "which is the label, column 1, which looks like 3 classes, or the last, column 5? Say it with --target\n";
    assert!(asked.code == Some(1) && asked.err.ends_with(expected), "{asked:?}");
    assert_eq!(names(&read(&front, &["--target", "first"]).data()).len(), 3);
}

/// Messages about a single row or cell use the singular.
#[test]
fn one_is_not_many() {
    let gaps = |cells: usize| {
        let count = std::cell::Cell::new(0);
        flowers("", move |kind, [a, b, c, d]| {
            count.set(count.get() + 1);
            let d = if count.get() <= cells { "NA".into() } else { d.to_string() };
            format!("{a},{b},{c},{d},{kind}\n")
        })
    };
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("rows.csv");
    let said = |cells: usize, missing: &str| {
        fs::write(&path, gaps(cells)).expect("written");
        let args = ["train", "--engine", "cpu", "--epochs", "1", "--data", path.to_str().expect("UTF-8"), "--missing", missing];
        thalweg(&args).err
    };
    assert!(said(1, "drop").contains("\n1 row with a missing cell is left out\n"));
    assert!(said(2, "drop").contains("\n2 rows with missing cells are left out\n"));
    assert!(
        said(1, "mean").contains("\n1 missing cell is filled: a number by the column's mean, a text by none of its texts\n")
    );
}
