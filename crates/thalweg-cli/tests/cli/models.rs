//! Every model of `train`: learned, kept, gone on with, predicted from, searched.

use super::*;
use thalweg::checkpoint::read;

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// Small models of each kind, as options.
const MODELS: [&[&str]; 5] = [
    &["--model", "mlp", "--hidden", "16", "--activation", "silu", "--dropout", "0.1"],
    &["--model", "linear"],
    &["--model", "cnn", "--hidden", "4,6", "--activation", "leaky-relu"],
    &["--model", "lstm", "--hidden", "12", "--dropout", "0.1"],
    &["--model", "transformer", "--hidden", "8", "--dropout", "0.1"],
];

/// Layers of a file, of nearly every kind.
const LAYERS: &str = "\
[[layers]]
kind = \"augment\"
shift = 0.5
[[layers]]
kind = \"Conv2d\"
out_channels = 4
kernel_size = [3, 3]
padding = \"same\"
name = \"first\"
[[layers]]
kind = \"batch_norm\"
[[layers]]
kind = \"relu\"
[[layers]]
kind = \"residual\"
layers = [{ kind = \"conv2d\", kernel = 3, padding = 1 }, { kind = \"group_norm\", groups = 2 }, { kind = \"elu\" }]
[[layers]]
kind = \"max_pool2d\"
kernel = 2
[[layers]]
kind = \"flatten\"
[[layers]]
kind = \"dropout\"
p = 0.2
[[layers]]
kind = \"linear\"
";

/// The four files of an IDX folder with some of the digits: a small run is enough to see that all is kept.
fn digits(folder: &TempDir) -> String {
    let (digits, place) = (thalweg::data::digits(), folder.path().join("digits"));
    fs::create_dir(&place).expect("a folder");
    for (part, rows) in [("train", 0..96), ("t10k", 96..144)] {
        let count = (rows.len() as u32).to_be_bytes();
        let header = |dimensions: u8| [&[0, 0, 8, dimensions][..], &count].concat();
        let pixels: Vec<u8> = digits.features[64 * rows.start..64 * rows.end].iter().map(|&x| 15 * x as u8).collect();
        let labels: Vec<u8> = digits.labels[rows].iter().map(|&label| label as u8).collect();
        let size = [0, 0, 0, 8, 0, 0, 0, 8];
        fs::write(place.join(format!("{part}-images-idx3-ubyte")), [header(3), size.to_vec(), pixels].concat())
            .expect("written");
        fs::write(place.join(format!("{part}-labels-idx1-ubyte")), [header(1), labels].concat()).expect("written");
    }
    place.display().to_string()
}

/// Interrupted in the middle of an epoch and gone on with, it ends with the bits of a run in one go; the file is enough to
/// predict and to go on, wherever the layers came from.
#[test]
fn every_model_is_kept_gone_on_with_and_predicted_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let layers = path(&folder, "layers.toml");
    fs::write(&layers, LAYERS).expect("a file");
    let (of_file, data) = (["--model", layers.as_str()], digits(&folder));
    for (i, model) in MODELS.iter().copied().chain([&of_file[..]]).enumerate() {
        let [whole, run, end] = ["whole", "run", "end"].map(|name| path(&folder, &format!("{name}-{i}")));
        let common =
            ["train", "--engine", "cpu", "--threads", "1", "--json", "--data", &data, "--epochs", "3", "--batch", "20"];
        let first = thalweg(&[&common[..], model, &["--save", &whole]].concat());
        let last = first.json().pop().expect("a result");
        let ran = thalweg(&[&common[..], model, &["--checkpoint", &run, "--until", "7"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        if model == of_file {
            fs::remove_file(&layers).expect("removed");
        }
        let ran = thalweg(&["train", "--engine", "cpu", "--threads", "1", "--json", "--resume", &run, "--save", &end]);
        assert_eq!(ran.code, Some(0), "{model:?}: {ran:?}");
        let [whole_tensors, end_tensors] = [&whole, &end].map(|file| read(Path::new(file)).expect("a file"));
        for (name, tensor) in whole_tensors.iter().filter(|(name, _)| name.starts_with("param.") || name.starts_with("buffer."))
        {
            assert_eq!(end_tensors.find(name), Some(tensor), "{model:?}: {name}");
        }
        let measured = thalweg(&["evaluate", "--engine", "cpu", "--model", &whole, "--json"]).json();
        assert_eq!(measured[0]["accuracy"], last["test_accuracy"], "{model:?}");
        let ran = thalweg(&["predict", "--engine", "cpu", "--model", &whole, "--data", &data, "--quiet"]);
        assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 49), "{model:?}: {}", ran.err);
    }
}

/// A short run at a high rate, from five seeds, which are lanes of one program. What is measured are the test rows; the mean is
/// 99.1 %.
#[test]
fn the_digits_are_learned_by_convolutions() {
    let seeds = ["sweep", "--preset", "seeds", "--seeds", "5", "--metric", "accuracy", "--engine", "cpu", "--json"];
    let model = ["--model", "cnn", "--hidden", "16,32", "--epochs", "8", "--batch", "16", "--lr", "4e-3"];
    let last = thalweg(&[&seeds[..], &model].concat()).json().pop().expect("a result");
    let reached = last["best"]["mean"].as_f64().is_some_and(|mean| mean >= 0.98);
    assert!(reached && last["best"]["runs"] == 5, "{last}");
}

#[test]
fn convolutions_have_a_rate_of_their_own_where_none_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = digits(&folder);
    let rate = |args: &[&str]| {
        let run = ["train", "--engine", "cpu", "--json", "--data", &data, "--epochs", "1", "--hidden", "2"];
        thalweg(&[&run, args].concat()).data()["lr"].as_f64().expect("a rate")
    };
    let cases: [(&[&str], f64); 7] = [
        (&["--model", "cnn"], 0.002),
        (&["--model", "cnn", "--rule", "Adam"], 0.002),
        (&["--model", "cnn", "--lr", "0.01"], 0.01),
        (&["--model", "cnn", "--set", "learning_rate=0.02"], 0.02),
        (&["--model", "cnn", "--rule", "lion"], 0.0001),
        (&["--model", "mlp"], 0.001),
        (&["--model", "lstm"], 0.001),
    ];
    for (args, expected) in cases {
        assert_eq!(rate(args), expected, "{args:?}");
    }
}

#[test]
fn engines_agree_on_every_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let layers = path(&folder, "layers.toml");
    fs::write(&layers, LAYERS).expect("a file");
    let (of_file, data) = (["--model", layers.as_str()], digits(&folder));
    for model in MODELS.iter().copied().chain([&of_file[..]]) {
        let run = |engine: &str| {
            let common =
                ["train", "--engine", engine, "--json", "--data", &data, "--epochs", "1", "--batch", "40", "--rule", "sgd"];
            last_test(&thalweg(&[&common[..], model].concat()).epochs())
        };
        let (cpu, gpu) = (run("cpu"), run("gpu"));
        // Sums of some 1,000 products and a few steps, each in its own order: about 1,000 roundings of single precision.
        assert!((cpu.0 - gpu.0).abs() < 1e-4 * cpu.0, "{model:?}: {cpu:?} {gpu:?}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(&folder, "layers.toml");
    let cases = [
        ("[[layers]]\nkind = \"liner\"", "layer 0: unknown kind of layer 'liner'", "did you mean linear?"),
        ("[[layers]]\nkind = \"linear\"\noutptus = 3", "layer 0 (linear): unknown setting 'outptus'", "did you mean outputs?"),
        ("[[layers]]\nkind = \"conv2d\"\nkernal = 3", "layer 0 (conv2d): unknown setting 'kernal'", "did you mean kernel?"),
        ("[[layer]]\nkind = \"linear\"", "unknown key 'layer'", "did you mean layers?"),
        ("[[layers]]\noutputs = 3", "layer 0: it has no kind", ""),
        ("[[layers]]\nkind = \"conv2d\"\noutputs = 4", "layer 0 (conv2d): it has no kernel", ""),
        ("[[layers]]\nkind = \"linear\"\noutputs = -1", "outputs = -1 is no whole number from 0 on", ""),
        ("[[layers]]\nkind = \"linear\"\nbias = 1", "bias = 1 is neither true nor false", ""),
        ("layers = 3", "layers are a list of tables", ""),
        ("[[layers]", "TOML parse error", ""),
        // Shapes: the layer, what it expects and what it gets.
        (
            "[[layers]]\nkind = \"linear\"\noutputs = 8\nname = \"up\"\n[[layers]]\nkind = \"linear\"\ninputs = 9",
            "layers.toml: layer 1 (linear): input of a linear layer: [2, 8] found, a last dimension of 9 expected",
            "",
        ),
        (
            "[[layers]]\nkind = \"conv2d\"\noutputs = 4\nkernel = 9\nname = \"wide\"",
            "layer wide (conv2d): kernel of a convolution: [9, 9] (kernel [9, 9], dilation [1, 1]) found, at most the padded image of [8, 8]",
            "",
        ),
        ("[[layers]]\nkind = \"linear\"\noutputs = 11", "output of the model: [samples, 11] found, [samples, 10] expected", ""),
        (
            "[[layers]]\nkind = \"lstm\"\nhidden = 4\n[[layers]]\nkind = \"linear\"",
            "output of the model: [samples, 8, 10] found",
            "",
        ),
    ];
    for (text, first, second) in cases {
        fs::write(&file, text).expect("a file");
        let ran = thalweg(&["train", "--engine", "cpu", "--model", &file]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(2), "", 1), "{text}: {ran:?}");
        assert!(ran.err.contains(first) && ran.err.contains(second), "{text}: {}", ran.err);
    }
    let ran = thalweg(&["train", "--model", &path(&folder, "none.toml")]);
    assert!(ran.code == Some(1) && ran.err.contains("none.toml: No such file"), "{ran:?}");
}

/// The best of the epochs is what is kept and tested, and the run stops when its patience ends; with more of it, it goes on.
#[test]
fn patience_ends_a_run_and_keeps_its_best() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, more, out] = ["file", "more", "out"].map(|name| path(&folder, name));
    let common = ["--hidden", "8", "--lr", "0.2", "--batch", "64", "--seed", "3"];
    let lines = trained(&[&common[..], &["--patience", "3", "--epochs", "400", "--save", &file, "--out", &out]].concat());
    let (last, epochs) = (lines.last().expect("a result"), &lines[..lines.len() - 1]);
    let qualities: Vec<f64> = epochs.iter().map(|epoch| epoch["val_accuracy"].as_f64().expect("a number")).collect();
    let best = qualities.iter().copied().fold(f64::MIN, f64::max);
    let at = qualities.iter().position(|&quality| quality == best).expect("one of them") + 1;
    assert_eq!((&last["best_epoch"], &last["kept_epoch"], qualities.len()), (&at.into(), &at.into(), at + 3), "{last}");
    assert!(at + 3 < 400, "it stops early");
    let measured = thalweg(&["evaluate", "--engine", "cpu", "--model", &file, "--json"]).json();
    assert_eq!(measured[0]["accuracy"], last["test_accuracy"]);
    let table = fs::read_to_string(Path::new(&out).join("metrics.csv")).expect("a table");
    assert!(table.starts_with("epoch,train_loss,train_accuracy,val_loss,val_accuracy,steps,seconds\n"), "{table}");
    let run: Value =
        serde_json::from_str(&fs::read_to_string(Path::new(&out).join("run.json")).expect("a file")).expect("JSON");
    let rows = |name: &str| run["data"][name].as_u64().expect("a number");
    assert_eq!((rows("train_rows") + rows("validation_rows"), rows("test_rows")), (1438, 359));
    assert!((rows("validation_rows") as f64 - 0.2 * 1438.0).abs() < 6.0);

    let goes_on =
        thalweg(&["train", "--engine", "cpu", "--json", "--resume", &file, "--patience", "6", "--save", &more]).epochs();
    assert_eq!(goes_on[0]["epoch"], at + 4, "{:?}", goes_on[0]);
    let without = thalweg(&["train", "--engine", "cpu", "--resume", &file]);
    assert!(without.code == Some(0) || without.code == Some(2), "{without:?}");
}

#[test]
fn pictures_show_what_is_taken_for_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(&folder, "run");
    trained(&["--epochs", "1", "--out", &out]);
    let picture = fs::read_to_string(Path::new(&out).join("confusion.svg")).expect("a picture");
    super::picture::well_formed(&picture).expect("SVG");
    for text in ["class", "predicted", "test accuracy"] {
        assert!(picture.contains(text), "{text}");
    }
}

/// A sweep over models whose lanes have their own dropout, and over images that each lane changes as much as it wants: `train`
/// makes its best trial again.
#[test]
fn a_sweep_knows_every_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = digits(&folder);
    let images = ["shift=uniform:0.5:2", "crop=uniform:0.1:0.4", "flip=choice:0.0,0.5", "noise=uniform:0.1:0.3"];
    let images: Vec<&str> = images.into_iter().flat_map(|strength| ["--space", strength]).collect();
    for model in [
        &["--model", "cnn", "--hidden", "4"][..],
        &[&["--model", "cnn", "--hidden", "4"], &images[..]].concat(),
        &["--model", "lstm", "--hidden", "6"],
        &["--model", "transformer", "--hidden", "8"],
    ] {
        let space = [
            "--space",
            "lr=log:1e-3:1e-2",
            "--space",
            "dropout=uniform:0:0.3",
            "--trials",
            "2",
            "--epochs",
            "3",
            "--batch",
            "20",
            "--metric",
            "loss",
        ];
        let lines = thalweg(&[&["sweep", "--engine", "cpu", "--json", "--data", &data], &space[..], model].concat()).json();
        let last = lines.last().expect("a result");
        let again: Vec<&str> = last["train"].as_array().expect("options").iter().filter_map(Value::as_str).collect();
        let alone = trained(&again);
        let (found, expected) = (last_test(&alone).0, last["best"]["mean"].as_f64().expect("a number"));
        assert!((found - expected).abs() < 1e-12, "{model:?}: {found} {expected}");
    }
}

/// Every preset on images, on a table with classes and on one with numbers, over every kind of model, one from a file among
/// them.
#[test]
fn presets_work_on_every_model_and_kind_of_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let (digits, classes, numbers) = (digits(&folder), path(&folder, "classes.csv"), path(&folder, "numbers.csv"));
    let row = |i: usize| (i % 7, i * i % 11);
    let table = |target: fn(usize, usize) -> String| {
        let rows = (0..60).map(row).map(|(x, y)| format!("{x},{y},{}\n", target(x, y)));
        "x,y,z\n".to_string() + &rows.collect::<String>()
    };
    fs::write(&classes, table(|x, y| if x + y > 7 { "a".into() } else { "b".into() })).expect("written");
    fs::write(&numbers, table(|x, y| format!("{}.5", 3 * x + y))).expect("written");
    let layers = path(&folder, "model.toml");
    fs::write(&layers, LAYERS).expect("written");
    let of = |data: &str, options: &[&str]| {
        let data = ["--data", data].map(String::from).into_iter();
        data.chain(options.iter().map(|option| option.to_string())).collect::<Vec<String>>()
    };
    let mut runs: Vec<(Vec<String>, &str)> = MODELS.iter().map(|model| (of(&digits, model), "loss")).collect();
    runs.push((of(&digits, &["--model", &layers]), "loss"));
    for model in &MODELS[..2] {
        runs.push((of(&classes, &[&["--target", "z"], *model].concat()), "accuracy"));
        runs.push((of(&numbers, &[&["--target", "z", "--task", "regression"], *model].concat()), "r2"));
    }
    for (options, metric) in runs {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let last = |preset: &[&str]| {
            let run = ["sweep", "--engine", "cpu", "--json", "--epochs", "1", "--batch", "16", "--metric", metric];
            thalweg(&[&run, preset, &options].concat()).json().pop().expect("a result")
        };
        let scan = last(&["--preset", "lr-scan", "--grid-values", "3", "--space", "lr=log:1e-4:1e-2"]);
        assert_eq!((&scan["trials"], &scan["complete"]), (&3.into(), &3.into()), "{options:?}: {scan}");
        assert_eq!(scan["rates"].as_array().map(Vec::len), Some(2), "{options:?}: {scan}");
        let rules = ["--preset", "rules", "--seeds", "2", "--trials", "2", "--space", "rule=choice:adam,sgd", "--space"];
        let rules = last(&[&rules[..], &["lr=log:1e-6:10"]].concat());
        assert_eq!(rules["rules"].as_array().map(Vec::len), Some(2), "{options:?}: {rules}");
        let seeds = last(&["--preset", "seeds", "--seeds", "3"]);
        assert_eq!((&seeds["best"]["runs"], &seeds["trials"]), (&3.into(), &1.into()), "{options:?}: {seeds}");
        assert!(seeds["best"]["deviation"].as_f64().is_some_and(|deviation| deviation > 0.0), "{options:?}: {seeds}");
    }
}

/// Two words of six, and whether they are the same: a model that took them as numbers could not tell. Columns and label stand
/// as in a file.
fn words(rows: usize) -> String {
    let row = |i: usize| format!("{},{},{}\n", i % 6, i / 6 % 6, if i % 6 == i / 6 % 6 { "same" } else { "other" });
    "first,second,label\n".to_string() + &(0..rows).map(row).collect::<String>()
}

const EMBEDDING: &str = "\
[[layers]]
kind = \"Embedding\"
num_embeddings = 6
embedding_dim = 8
[[layers]]
kind = \"flatten\"
[[layers]]
kind = \"linear\"
outputs = 16
[[layers]]
kind = \"relu\"
[[layers]]
kind = \"linear\"
";

/// Features that are indices, as the first layer is an embedding: trained, gone on with, measured, predicted and searched, on
/// both engines.
#[test]
fn models_over_indices_learn_from_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let [layers, data, file] = ["embedding.toml", "words.csv", "model"].map(|name| path(&folder, name));
    fs::write(&layers, EMBEDDING).expect("a file");
    fs::write(&data, words(360)).expect("a file");
    let common = ["--data", &data, "--model", &layers, "--lr", "0.02", "--batch", "32"];
    for engine in ["cpu", "gpu"] {
        let run = ["train", "--engine", engine, "--json", "--epochs", "20", "--save", &file];
        let last = thalweg(&[&run[..], &common].concat()).json().pop().expect("a result");
        assert_eq!(last["test_accuracy"], 1.0, "{engine}: {last}");
        let measured = thalweg(&["evaluate", "--engine", engine, "--model", &file, "--json"]).json();
        assert_eq!(measured[0]["accuracy"], 1.0);
        // Another order of columns, and no label.
        let new = path(&folder, "new.csv");
        fs::write(&new, "second,first\n3,3\n0,5\n5,5\n").expect("a file");
        let ran = thalweg(&["predict", "--engine", engine, "--model", &file, "--data", &new]);
        assert_eq!(ran.out, "prediction\nsame\nother\nsame\n", "{ran:?}");
    }
    let run = path(&folder, "run");
    let parts =
        ["train", "--engine", "cpu", "--threads", "1", "--json", "--epochs", "20", "--checkpoint", &run, "--until", "50"];
    assert_eq!(thalweg(&[&parts[..], &common].concat()).code, Some(0));
    // The layers are in the file of the run.
    fs::remove_file(&layers).expect("removed");
    let last = thalweg(&["train", "--engine", "cpu", "--json", "--resume", &run]).json().pop().expect("a result");
    assert_eq!(last["test_accuracy"], 1.0, "{last}");

    fs::write(&layers, EMBEDDING).expect("a file");
    let sweep = ["sweep", "--engine", "cpu", "--json", "--space", "lr=choice:1e-5,0.02", "--sampler", "grid", "--epochs", "20"];
    let common = ["--data", &data, "--model", &layers, "--batch", "32", "--folds", "2"];
    let ran = thalweg(&[&sweep[..], &common].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let result = ran.json().pop().expect("a result");
    assert_eq!(result["refit"]["test_accuracy"], 1.0, "{result}");
}

#[test]
fn an_index_that_no_row_of_the_table_has_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let [layers, data, file] = ["embedding.toml", "words.csv", "model"].map(|name| path(&folder, name));
    fs::write(&layers, EMBEDDING).expect("a file");
    for (wrong, cell) in [("6,1", "'6'"), ("-1,1", "'-1'"), ("0.5,1", "'0.5'"), ("1e9,1", "'1e9'")] {
        fs::write(&data, format!("{}{wrong},same\n", words(60))).expect("a file");
        let ran = thalweg(&["train", "--engine", "cpu", "--data", &data, "--model", &layers]);
        let place = format!("words.csv, line 62, column 1: {cell} is no index: features are whole numbers from 0 to 5");
        assert!(ran.code == Some(1) && ran.err.contains(&place), "{wrong}: {ran:?}");
    }
    fs::write(&data, words(60)).expect("a file");
    let saved = ["train", "--engine", "cpu", "--epochs", "1", "--quiet", "--data", &data, "--model", &layers, "--save", &file];
    assert_eq!(thalweg(&saved).code, Some(0));
    fs::write(&data, "first,second,label\n1,2,other\n3,7,other\n").expect("a file");
    for command in [&["predict"][..], &["evaluate"]] {
        let ran = thalweg(&[command, &["--engine", "cpu", "--model", &file, "--data", &data]].concat());
        assert!(ran.code == Some(1) && ran.err.contains("line 3, column 2") && ran.err.contains("'7' is no index"), "{ran:?}");
        let ran = thalweg(&[command, &["--engine", "cpu", "--model", &file, "--data", &data, "--missing", "mean"]].concat());
        assert!(ran.code == Some(2) && ran.err.contains("indices, which have no mean"), "{ran:?}");
    }
    fs::write(&data, words(60)).expect("a file");
    // The digits have 17 shades.
    for (rows, code) in [(16, 1), (17, 0)] {
        let text = EMBEDDING.replace("num_embeddings = 6", &format!("num_embeddings = {rows}"));
        fs::write(&layers, text).expect("a file");
        let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--model", &layers]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(code == 0 || ran.err.contains("training data, row ") && ran.err.contains("= 16 is out of range"), "{ran:?}");
    }
    for (text, said) in [
        (
            "[[layers]]\nkind = \"flatten\"\n".to_string() + EMBEDDING,
            "layer 1 (embedding): it looks up the features themselves",
        ),
        (EMBEDDING.replace("num_embeddings = 6\n", ""), "layer 0 (embedding): it has no rows"),
        (EMBEDDING.replace("= 6", "= 0"), "rows = 0 is out of range: from 1 to 16777216"),
        (EMBEDDING.replace("= 6", "= 6\npadding_idx = 6"), "padding = 6 is out of range: below 6"),
    ] {
        fs::write(&layers, &text).expect("a file");
        let ran = thalweg(&["train", "--engine", "cpu", "--data", &data, "--model", &layers]);
        assert!(ran.code == Some(2) && ran.err.contains(said), "{text}: {ran:?}");
    }
}
