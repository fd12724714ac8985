//! Files of tensors: they are read as they were written, damaged ones are refused, and a crash leaves a whole file.

mod crashes;
mod folders;
mod large;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thalweg::checkpoint::{Dtype, StoredTensor, Tensors, Writer, read, read_any, read_foreign, write};
use thalweg::{Error, Result};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Tensors of several types and shapes, among them empty ones, a number, NaN, and names and texts that JSON has to escape.
fn mixed() -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put("param.w", &[2, 3], &[1.0f32, -2.5, f32::NAN, f32::INFINITY, 1e-45, -0.0]).expect("fits");
    tensors.put("state.w.exp_avg", &[3], &[1.0f64, f64::MIN_POSITIVE, 3.0]).expect("fits");
    tensors.put("steps", &[], &[7u64]).expect("fits");
    tensors.put("none", &[0, 5], &[] as &[f32]).expect("fits");
    tensors.put("words", &[3], &[1u32, u32::MAX, 0]).expect("fits");
    tensors.put("bytes", &[5], &[1u8, 2, 3, 4, 255]).expect("fits");
    let half = StoredTensor::new("half", Dtype::Bf16, &[2, 1], vec![0, 1, 2, 3]).expect("fits");
    tensors.insert("half \"quoted\" \\ ü \n", half).expect("a name");
    tensors.texts.insert("rule".into(), "{\"adamw\": \"blake3\":\"0000\"}".into());
    tensors.texts.insert("ends".into(), "\u{1F600}\n".into());
    tensors
}

/// Bits, so that NaN is compared too.
fn same(left: &Tensors, right: &Tensors) -> bool {
    left.texts == right.texts && left.iter().eq(right.iter())
}

#[test]
fn what_is_written_comes_back() -> Result<()> {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    for tensors in [mixed(), Tensors::default()] {
        write(&path, &tensors)?;
        assert!(same(&read(&path)?, &tensors));
        let foreign = read_foreign(&path)?;
        assert_eq!(foreign.texts.len(), tensors.texts.len() + 2, "version and hash besides");
    }
    let bytes = fs::read(&path).expect("a file");
    write(&path, &Tensors::default())?;
    assert_eq!(fs::read(&path).expect("a file"), bytes, "the same content is the same file");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    let error = mixed().get::<f64>("param.w").expect_err("another type");
    assert_eq!(error.to_string(), "type of tensor 'param.w': F32 found, F64 expected");
    let error = mixed().get::<f32>("param.v").expect_err("no such tensor").to_string();
    assert!(error.starts_with("the file has no tensor 'param.v'; it has ") && error.ends_with("; near it: param.w"), "{error}");
    assert!(matches!(Tensors::default().put("x", &[2], &[1.0f32]), Err(Error::Shape { .. })));
    assert!(matches!(Tensors::default().put("x", &[1 << 40, 1 << 40], &[1.0f32]), Err(Error::Shape { .. })));
    assert!(matches!(Tensors::default().put("__metadata__", &[1], &[1.0f32]), Err(Error::Setting { .. })));
    Ok(())
}

/// A file so large that a second thread hashes it while it is read.
#[test]
fn a_large_file_is_read_and_hashed_by_two_threads() -> Result<()> {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    let mut tensors = mixed();
    // No multiple of what is read at once.
    let large: Vec<f32> = (0..(9 << 18) + 77).map(|i| i as f32).collect();
    tensors.put("large", &[large.len()], &large)?;
    tensors.put("also", &[large.len() / 7, 7], &large[..large.len() / 7 * 7])?;
    write(&path, &tensors)?;
    assert!(same(&read(&path)?, &tensors));
    let bytes = fs::read(&path).expect("a file");
    for at in [bytes.len() - 1, bytes.len() / 2, bytes.len() / 2 + (1 << 20), 9 << 20] {
        let mut changed = bytes.clone();
        changed[at] ^= 16;
        fs::write(&path, &changed).expect("a file");
        assert!(matches!(read(&path), Err(Error::Damaged { .. })), "a bit of byte {at}");
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("a file");
    assert!(matches!(read(&path), Err(Error::Damaged { .. })));
    Ok(())
}

/// Large tensors are looked through in blocks; the first value that is not finite is found wherever it is.
#[test]
fn the_first_value_that_is_not_finite_is_found_in_any_block() -> Result<()> {
    const BLOCK: usize = 4096;
    for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5] {
        let places = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 4, len.saturating_sub(1)];
        for place in std::iter::once(None).chain(places.into_iter().filter(|&place| place < len).map(Some)) {
            for bad in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                // The largest numbers are finite. A second bad value behind the first one does not count.
                let of = |i: usize, most: f64| match place {
                    Some(place) if i == place || i == place + 7 => bad,
                    _ => [most, -most, 0.0][i % 3],
                };
                let halves = |most: f64, bits: fn(f64) -> u16| -> Vec<u8> {
                    (0..len).flat_map(|i| bits(of(i, most)).to_le_bytes()).collect()
                };
                let mut tensors = Tensors::default();
                tensors.put("f64", &[len], &(0..len).map(|i| of(i, f64::MAX)).collect::<Vec<_>>())?;
                tensors.put("f32", &[len], &(0..len).map(|i| of(i, f32::MAX.into()) as f32).collect::<Vec<_>>())?;
                let f16 = halves(65504.0, |x| half::f16::from_f64(x).to_bits());
                let bf16 = halves(half::bf16::MAX.to_f64(), |x| half::bf16::from_f64(x).to_bits());
                tensors.insert("f16", StoredTensor::new("f16", Dtype::F16, &[len], f16)?)?;
                tensors.insert("bf16", StoredTensor::new("bf16", Dtype::Bf16, &[len], bf16)?)?;
                tensors.put("u32", &[len], &vec![u32::MAX; len])?;
                for (name, tensor) in tensors.iter() {
                    let expected = place.filter(|_| name != "u32");
                    assert_eq!(tensor.first_not_finite(), expected, "{name} of {len}, {bad} at {place:?}");
                }
            }
        }
    }
    Ok(())
}

/// Every prefix, every single changed bit, and further bytes at the end: each is refused, with the name of the file.
#[test]
fn every_damage_is_found() {
    let folder = folder();
    let (path, broken) = (folder.path().join("a.safetensors"), folder.path().join("broken.safetensors"));
    let mut tensors = Tensors::default();
    tensors.put("w", &[2], &[1.0f32, -2.5]).expect("fits");
    tensors.texts.insert("rule".into(), "adamw".into());
    write(&path, &tensors).expect("a file");
    let whole = fs::read(&path).expect("a file");
    let refused = |bytes: &[u8], what: String| {
        fs::write(&broken, bytes).expect("a file");
        match read(&broken) {
            Err(Error::Damaged { path, .. }) => assert_eq!(path, broken, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    for len in 0..whole.len() {
        refused(&whole[..len], format!("the first {len} bytes"));
    }
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&bytes, format!("bit {bit}"));
    }
    refused(&[&whole[..], &[0]].concat(), "a byte more".into());
    refused(&[&whole[..], &whole].concat(), "twice".into());
    fs::write(&broken, &whole).expect("a file");
    assert!(read(&broken).is_ok(), "the whole file is read");
}

/// A header that lies, made by hand.
fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let folder = folder();
    let path = folder.path().join("lie.safetensors");
    let cases: [(&str, &[u8]); 9] = [
        (r#"{"x":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}"#, &[]),
        (r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, &[]),
        (r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]),
        (r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            &[0; 4],
        ),
        (r#"{"x":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]),
        (r#"{"x":{"dtype":"X9","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]),
        (r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &[0; 4]),
        ("[1, 2", &[]),
    ];
    for (header, data) in cases {
        fs::write(&path, file_of(header, data)).expect("a file");
        let error = read_foreign(&path).expect_err(header);
        assert!(matches!(error, Error::Damaged { .. }), "{header}: {error}");
    }
    // A length that is larger than any file.
    fs::write(&path, [&u64::MAX.to_le_bytes()[..], &[b'{'; 100]].concat()).expect("a file");
    assert!(matches!(read_foreign(&path), Err(Error::Damaged { .. })));
    // A right header is read, but not as a file of Thalweg.
    fs::write(&path, file_of(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0, 0, 128, 63])).expect("a file");
    assert_eq!(read_foreign(&path).expect("right").get::<f32>("x"), Ok(vec![1.0]));
    let error = read(&path).expect_err("no hash").to_string();
    assert!(error.ends_with("it has no hash: Thalweg did not write it, or it was changed"), "{error}");
    // Folders and devices are no files.
    for path in [folder.path(), Path::new("/dev/zero"), &folder.path().join("nothing")] {
        assert!(matches!(read(path), Err(Error::File { .. })), "{}", path.display());
    }
}

/// Numbers that a header may claim.
const CLAIMS: [&str; 12] = [
    "0",
    "1",
    "2",
    "7",
    "4294967296",
    "1152921504606846976",
    "9223372036854775808",
    "18446744073709551615",
    "-1",
    "1e3",
    "0.5",
    "null",
];
/// Parts of a header, to be put in other places.
const PARTS: [&str; 12] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"dtype\":\"F32\"",
    "\"shape\":[1]",
    "\"data_offsets\":[0,4]",
    "\\u0000",
    "\"__metadata__\":{}",
];

/// A file with some changes in its header, whose length is usually right.
fn mutated(random: &mut fastrand::Rng, file: &[u8]) -> Vec<u8> {
    let len = u64::from_le_bytes(*file.first_chunk().expect("a length")) as usize;
    let (mut header, data) = (file[8..8 + len].to_vec(), &file[8 + len..]);
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..header.len().max(1));
        match random.u8(0..6) {
            0 => {
                // Replaces a number.
                let digits: Vec<usize> = (0..header.len()).filter(|&i| header[i].is_ascii_digit()).collect();
                let Some(&start) = random.choice(&digits) else { continue };
                let end = start + header[start..].iter().take_while(|c| c.is_ascii_digit()).count();
                header.splice(start..end, random.choice(CLAIMS).expect("one").bytes());
            }
            1 => drop(header.splice(at..at, random.choice(PARTS).expect("one").bytes())),
            2 => drop(header.drain(at..(at + random.usize(0..9)).min(header.len()))),
            3 => {
                let part = header[at..(at + random.usize(0..60)).min(header.len())].to_vec();
                let to = random.usize(0..=header.len());
                header.splice(to..to, part);
            }
            4 if !header.is_empty() => header[at] = random.u8(..),
            _ => header.truncate(at),
        }
    }
    let len = if random.u8(0..8) == 0 { random.u64(0..2 * file.len() as u64) } else { header.len() as u64 };
    let data = &data[..if random.bool() { data.len() } else { random.usize(0..=data.len()) }];
    [&len.to_le_bytes(), &header[..], data].concat()
}

/// A file with random changes in its header is refused with an error that names it, or read as the changed header says, but
/// never beyond the end of the file. `THALWEG_READER_SECONDS` makes it longer.
#[test]
fn random_headers_are_refused_or_read() {
    let seconds = std::env::var("THALWEG_READER_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let (start, folder) = (Instant::now(), folder());
    let (path, changed) = (folder.path().join("a.safetensors"), folder.path().join("changed.safetensors"));
    write(&path, &mixed()).expect("a file");
    let file = fs::read(&path).expect("a file");
    let (mut read_anyway, mut refused) = (0, 0);
    for seed in 0.. {
        let go_on = seconds.map_or(seed < 3_000, |seconds| start.elapsed() < Duration::from_secs(seconds));
        if !go_on {
            break;
        }
        let bytes = mutated(&mut fastrand::Rng::with_seed(seed), &file);
        fs::write(&changed, &bytes).expect("a file");
        for found in [read(&changed), read_foreign(&changed), read_any(&changed).map(|(tensors, _)| tensors)] {
            match found {
                Ok(tensors) => {
                    let held: usize = tensors.iter().map(|(_, tensor)| tensor.bytes.len()).sum();
                    assert!(held <= bytes.len(), "seed {seed}");
                    read_anyway += 1;
                }
                Err(Error::Damaged { path, .. }) if path == changed => refused += 1,
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
    }
    assert!(read_anyway > 0 && refused > read_anyway, "{read_anyway} are read, {refused} refused");
}

#[test]
fn a_file_says_who_has_written_it() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    write(&path, &mixed()).expect("a file");
    let (found, writer) = read_any(&path).expect("a file");
    assert!(same(&found, &mixed()) && writer == Writer::Thalweg);
    // A changed file of Thalweg is not taken for a file of another program.
    let mut bytes = fs::read(&path).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&path, &bytes).expect("a file");
    assert!(matches!(read_any(&path), Err(Error::Damaged { .. })));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let key = text.find("blake3\":\"").into_iter().chain(text.find("thalweg\":\"1\"")).collect::<Vec<_>>();
    for at in key {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("a file");
        assert!(matches!(read_any(&path), Err(Error::Damaged { .. })), "a key at {at} has another name");
    }
    let (found, writer) = read_any(Path::new("golden/checkpoint/torch/adam.safetensors")).expect("a file of PyTorch");
    assert!(writer == Writer::Other && found.find("param.w").is_some());
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let folder = folder();
    let path = folder.path().join("new.safetensors");
    // A writer hashes the file with zeros in the place of the hash. A changed version needs a new hash, so it is made here.
    write(&path, &Tensors::default()).expect("a file");
    let text = String::from_utf8(fs::read(&path).expect("a file")[8..].to_vec()).expect("a header alone");
    let hash = text.split("\"blake3\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a hash").to_string();
    let changed = text.replace("\"thalweg\":\"1\"", "\"thalweg\":\"2\"").replace(&hash, &"0".repeat(64));
    let hash = blake3::hash(&file_of(&changed, &[])).to_hex().to_string();
    fs::write(&path, file_of(&changed.replace(&"0".repeat(64), &hash), &[])).expect("a file");
    let error = read(&path).expect_err("a newer version").to_string();
    assert!(error.ends_with("it is of version 2, and this program knows versions up to 1: use a newer one"), "{error}");
}

/// Files of version 1 stay readable for ever. This one was written from [`mixed`] when version 1 was the newest.
#[test]
fn the_first_version_is_read() {
    let found = read(Path::new("golden/checkpoint/version_1.safetensors")).expect("a file of version 1");
    assert!(same(&found, &mixed()));
}
