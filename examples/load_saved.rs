//! Predicts rows of a CSV file with a model that the command line saved: layers, scaling and the names of the classes come from
//! its file.
//!
//! ```sh
//! thalweg train --data iris.csv --patience 10 --save iris.safetensors
//! cargo run --release --features checkpoint --example load_saved -- iris.safetensors new.csv
//! ```
//!
//! Without arguments it writes a file of its own, with the names that the command line gives, and checks what it predicts. The
//! README lists these names. Here are the layers of a perceptron; for others, take those with which you trained.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, from_str, from_value, json};
use std::fs::{self, File};
use std::path::Path;
use thalweg::checkpoint::{self, Tensors};
use thalweg::cpu::Cpu;
use thalweg::data::csv::{Form, Options};
use thalweg::data::{Dataset, Scaler};
use thalweg::nn::{Dropout, Linear, Nonlinearity, Sequential};
use thalweg::{Recipe, Sgd, Trainer};

/// The class of each row.
fn predict(model: &Path, rows: &Path) -> Result<Vec<String>> {
    let file = checkpoint::read(model)?;
    let text = |name: &str| -> Result<Value> { Ok(from_str(file.texts.get(name).context("no model of a CSV file")?)?) };
    let names: Vec<String> = from_value(text("classes")?)?;
    let scaler = Scaler { shift: file.get("scaler.shift")?, divisor: file.get("scaler.divisor")? };

    let (mut form, columns) = (Form::default(), text("columns")?);
    form.header = from_value(columns["header"].clone())?;
    form.columns = from_value(columns["columns"].clone())?;
    form.label = from_value(columns["label"].clone())?;
    form.features = from_value(columns["features"].clone())?;
    let means: Vec<f32> = scaler.shift.iter().map(|&x| x as f32).collect();
    let (features, numbers) = form.features_from(rows, File::open(rows)?, &means, &Options::default())?;
    let mut data = Dataset { classes: names.len(), ..Dataset::new(features, form.width(), vec![0; numbers.len()])? };
    scaler.apply(&mut data)?;

    // A trainer predicts; its rule and data do not matter, as it takes no step.
    let model = layers(&file, &text("model")?)?;
    let mut trainer = Trainer::builder(&model, Recipe::new(Sgd::default())).train(&data).build(&Cpu::<f32>::default())?;
    // The best epoch's parameters, if the file has them.
    trainer.load_model(&file)?;
    let outputs = trainer.predict(0, &data.features)?;
    let largest = |row: &[f32]| (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    Ok(outputs.chunks_exact(names.len()).map(|row| names[largest(row)].clone()).collect())
}

/// The layers of a perceptron; their widths are those of the parameters.
fn layers(file: &Tensors, model: &Value) -> Result<Sequential> {
    let mut layers = Sequential::new();
    for (i, layer) in model["layers"].as_array().context("no layers")?.iter().enumerate() {
        let name = i.to_string();
        layers = match layer["kind"].as_str() {
            Some("linear") => {
                let shape = &file.tensor(&format!("param.{name}.weight"))?.shape;
                layers.named(&name, Linear::new(shape[1], shape[0]))
            }
            Some("relu") => layers.named(&name, Nonlinearity::Relu),
            Some("tanh") => layers.named(&name, Nonlinearity::Tanh),
            Some("dropout") => layers.named(&name, Dropout { p: 0.0 }),
            kind => bail!("layer {i}: this example does not know {kind:?}"),
        };
    }
    Ok(layers)
}

/// Writes a model as `thalweg train --save` does, and rows. It tells whether one of two columns is 20 and the other 10.
fn write_own(model: &Path, rows: &Path) -> Result<()> {
    let layer = |kind: &str| json!({ "kind": kind });
    let columns = json!({
        "header": ["a", "b", "kind"],
        "columns": 3,
        "label": 2,
        "features": [[0, []], [1, []]],
        "classes": ["equal", "different"],
    });
    let texts = [
        ("classes", columns["classes"].clone()),
        ("model", json!({ "input": [2], "outputs": 2, "layers": [layer("linear"), layer("relu"), layer("linear")] })),
        ("columns", columns),
    ];
    let mut file = Tensors::default();
    file.texts.extend(texts.map(|(name, value)| (name.to_string(), value.to_string())));
    file.put("scaler.shift", &[2], &[10.0f64; 2])?;
    file.put("scaler.divisor", &[2], &[10.0f64; 2])?;
    file.put("param.0.weight", &[2, 2], &[1.0f32; 4])?;
    file.put("param.0.bias", &[2], &[0.0f32, -1.0])?;
    file.put("param.2.weight", &[2, 2], &[0.0f32, 0.0, 1.0, -2.0])?;
    file.put("param.2.bias", &[2], &[0.5f32, 0.0])?;
    checkpoint::write(model, &file)?;
    Ok(fs::write(rows, "b,a\n10,10\n10,20\n20,10\n20,20\n")?)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [model, rows] = &args[..] {
        predict(model.as_ref(), rows.as_ref())?.iter().for_each(|class| println!("{class}"));
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("load_saved-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (model, rows) = (folder.join("model.safetensors"), folder.join("rows.csv"));
    let found = write_own(&model, &rows).and_then(|()| predict(&model, &rows));
    fs::remove_dir_all(&folder)?;
    let found = found?;
    println!("{}", found.join(", "));
    ensure!(found == ["equal", "different", "different", "equal"], "other classes were expected");
    Ok(())
}
