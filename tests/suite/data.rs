//! Data sets, their split and scaling, and the readers of CSV and IDX files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use thalweg::Error;
use thalweg::data::{Dataset, Scaler, csv, digits, idx, read};

/// A directory that lasts as long as a test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// An error's text without the path in front.
fn text<T>(result: thalweg::Result<T>, path: &Path) -> String {
    let text = result.err().map_or("no error".into(), |error| error.to_string());
    text.strip_prefix(&path.display().to_string()).map_or(text.clone(), String::from)
}

fn idx_file(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut content = vec![0, 0, 8, sizes.len() as u8];
    content.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    content.extend(values);
    content
}

/// A set whose only feature is the row's number, so that rows can be told apart.
fn numbered(labels: Vec<u32>) -> thalweg::Result<Dataset> {
    Dataset::new((0..labels.len()).map(|i| i as f32).collect(), 1, labels)
}

mod dataset {
    use super::*;

    #[test]
    fn ill_formed_sets_are_refused_by_name_and_value() {
        let texts = [
            (Dataset::new(vec![], 2, vec![]), "the data set is empty"),
            (Dataset::new(vec![1.0], 0, vec![0]), "width = 0 is out of range: at least 1"),
            (Dataset::new(vec![1.0; 5], 2, vec![0; 3]), "features: 5 found, 3 rows × 2 expected"),
            (
                Dataset::new(vec![1.0; 5], usize::MAX, vec![0; 3]),
                &format!("features: 5 found, 3 rows × {} expected", usize::MAX),
            ),
            (Dataset::new(vec![1.0, f32::NAN], 1, vec![0; 2]), "features[1] = NaN is out of range: finite"),
            (Dataset::new(vec![1.0], 1, vec![65_536]), "classes = 65537 is out of range: 1 to 65536"),
        ];
        for (result, expected) in texts {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn fields_broken_by_hand_are_refused_where_they_are_used() -> Result<()> {
        let mut data = numbered(vec![0, 1])?;
        data.labels[1] = 7;
        let expected = "labels[1] = 7 is out of range: below classes = 2";
        assert_eq!(data.split(0.5, 0).unwrap_err().to_string(), expected);
        assert_eq!(Scaler::standard(&data).unwrap_err().to_string(), expected);
        let mut data = numbered(vec![0, 1])?;
        data.class_names = vec!["one".into()];
        assert_eq!(data.check().unwrap_err().to_string(), "class names: 1 found, 2 expected");
        Ok(())
    }

    #[test]
    fn a_row_beyond_the_end_is_none() -> Result<()> {
        let data = numbered(vec![0, 1])?;
        assert_eq!(data.row(1), Some(&[1.0][..]));
        assert_eq!(data.row(2), None);
        assert_eq!(data.row(usize::MAX), None);
        Ok(())
    }

    #[test]
    fn the_digits_are_1797_rows_of_64_grey_values_in_10_classes() {
        let digits = digits();
        assert_eq!((digits.rows(), digits.width, digits.classes), (1797, 64, 10));
        assert_eq!(digits.check(), Ok(()));
        assert!(digits.features.iter().all(|x| (0.0..=16.0).contains(x) && x.fract() == 0.0));
        // Counts per class as the data set's own description gives them.
        let count = |class| digits.labels.iter().filter(|&&label| label == class).count();
        assert_eq!((0..10).map(count).collect::<Vec<_>>(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }
}

mod split {
    use super::*;

    #[test]
    fn each_class_is_within_one_row_of_its_fraction() -> Result<()> {
        let digits = digits();
        for fraction in [0.01, 0.1, 0.25, 1.0 / 3.0, 0.5, 0.9] {
            let (train, test) = digits.split(fraction, 3)?;
            assert_eq!((train.classes, test.classes), (10, 10));
            for class in 0..10 {
                let count = |data: &Dataset| data.labels.iter().filter(|&&label| label == class).count();
                let exact = fraction * count(&digits) as f64;
                assert!((count(&test) as f64 - exact).abs() <= 0.5 + 1e-9, "class {class}, {fraction}");
                assert_eq!(count(&train) + count(&test), count(&digits));
            }
        }
        Ok(())
    }

    #[test]
    fn a_tie_goes_to_the_training_part() -> Result<()> {
        let (train, test) = numbered(vec![0, 1, 1])?.split(0.5, 1)?;
        assert_eq!((train.rows(), test.rows()), (2, 1));
        assert!(train.labels.contains(&0));
        Ok(())
    }

    #[test]
    fn the_parts_are_disjoint_and_complete_and_keep_each_label_with_its_row() -> Result<()> {
        let data = numbered((0..100).map(|i| i * i % 7).collect())?;
        let (train, test) = data.split(0.3, 11)?;
        let mut seen = BTreeSet::new();
        for part in [&train, &test] {
            for (row, &label) in part.features.iter().zip(&part.labels) {
                assert_eq!(label, data.labels[*row as usize]);
                assert!(seen.insert(*row as usize), "row {row} is there twice");
            }
        }
        assert!(seen.into_iter().eq(0..100));
        Ok(())
    }

    #[test]
    fn a_seed_repeats_and_another_seed_differs() -> Result<()> {
        let digits = digits();
        assert_eq!(digits.split(0.2, 5)?, digits.split(0.2, 5)?);
        let ((train5, test5), (train6, test6)) = (digits.split(0.2, 5)?, digits.split(0.2, 6)?);
        assert!(train5 != train6 && test5 != test6);
        Ok(())
    }

    #[test]
    fn neither_part_is_sorted_by_class() -> Result<()> {
        let (train, test) = numbered((0..200).map(|i| i / 100).collect())?.split(0.5, 2)?;
        assert!(!train.labels.is_sorted() && !test.labels.is_sorted());
        Ok(())
    }

    #[test]
    fn a_fraction_outside_its_range_is_named() -> Result<()> {
        let data = numbered(vec![0, 1])?;
        for fraction in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            let expected = format!("test_fraction = {fraction} is out of range: above 0 and below 1");
            assert_eq!(data.split(fraction, 0).unwrap_err().to_string(), expected);
        }
        Ok(())
    }

    #[test]
    fn a_part_without_rows_is_refused() -> Result<()> {
        let data = numbered(vec![0, 1])?;
        let refused = |fraction| data.split(fraction, 0).map_err(|error| error.to_string());
        assert_eq!(refused(0.1), Err("the test part of 2 rows at test_fraction = 0.1 is empty".into()));
        assert_eq!(refused(0.9), Err("the training part of 2 rows at test_fraction = 0.9 is empty".into()));
        Ok(())
    }
}

mod scale {
    use super::*;

    #[test]
    fn range_divides_by_the_largest_absolute_value_of_all() -> Result<()> {
        let mut data = Dataset::new(vec![1.0, -8.0, 4.0, 0.0], 2, vec![0, 1])?;
        Scaler::range(&data)?.apply(&mut data)?;
        assert_eq!(data.features, [0.125, -1.0, 0.5, 0.0]);
        Ok(())
    }

    #[test]
    fn range_leaves_zeros_as_they_are() -> Result<()> {
        let mut data = Dataset::new(vec![0.0; 4], 2, vec![0, 1])?;
        Scaler::range(&data)?.apply(&mut data)?;
        assert_eq!(data.features, [0.0; 4]);
        Ok(())
    }

    #[test]
    fn standard_columns_have_mean_0_and_deviation_1_or_are_constant() -> Result<()> {
        let mut data = digits();
        let raw = data.clone();
        Scaler::standard(&data)?.apply(&mut data)?;
        let mut constant = 0;
        for j in 0..data.width {
            let column = |data: &Dataset| -> Vec<f64> {
                data.features.iter().skip(j).step_by(data.width).map(|&x| f64::from(x)).collect()
            };
            let (scaled, before) = (column(&data), column(&raw));
            let rows = data.rows() as f64;
            let mean = scaled.iter().sum::<f64>() / rows;
            let variance = scaled.iter().map(|x| x * x).sum::<f64>() / rows;
            if before.iter().all(|&x| x == before[0]) {
                constant += 1;
                assert!(scaled.iter().all(|&x| x == 0.0));
            } else {
                // Scaled values are rounded to f32: relative 6e-8 each, the largest about 40.
                assert!(mean.abs() < 1e-7 && (variance - 1.0).abs() < 1e-6, "column {j}: {mean} {variance}");
            }
        }
        assert_eq!(constant, 3, "pixels that are 0 in every digit");
        Ok(())
    }

    #[test]
    fn a_constant_column_is_exactly_0_whatever_its_value() -> Result<()> {
        // The plain mean of 0.1 over 1,000 rows is not 0.1, and its error must not pass as a deviation.
        let mut data = Dataset::new(vec![0.1; 1000], 1, vec![0; 1000])?;
        Scaler::standard(&data)?.apply(&mut data)?;
        assert!(data.features.iter().all(|&x| x == 0.0));
        Ok(())
    }

    #[test]
    fn a_small_spread_on_a_large_mean_survives() -> Result<()> {
        let features = (0..1000).map(|i| 16_777_000.0 + (i % 2) as f32).collect();
        let mut data = Dataset::new(features, 1, vec![0; 1000])?;
        Scaler::standard(&data)?.apply(&mut data)?;
        assert!(data.features.chunks(2).all(|pair| pair == [-1.0, 1.0]));
        Ok(())
    }

    #[test]
    fn the_test_part_is_scaled_as_the_training_part() -> Result<()> {
        let train = Dataset::new(vec![0.0, 4.0], 1, vec![0, 1])?;
        let mut test = Dataset::new(vec![8.0], 1, vec![0])?;
        Scaler::standard(&train)?.apply(&mut test)?;
        assert_eq!(test.features, [3.0]);
        Ok(())
    }

    #[test]
    fn another_width_is_refused() -> Result<()> {
        let train = Dataset::new(vec![1.0, 2.0, 3.0], 3, vec![0])?;
        let mut test = Dataset::new(vec![1.0, 2.0], 2, vec![0])?;
        let error = Scaler::range(&train)?.apply(&mut test).unwrap_err();
        assert_eq!(error.to_string(), "features per row: 2 found, 3 as in training expected");
        assert!(matches!(error, Error::Shape { .. }));
        Ok(())
    }

    #[test]
    fn a_feature_scaled_beyond_f32_is_refused_and_nothing_changes() -> Result<()> {
        let tiny = Scaler::range(&Dataset::new(vec![1e-30], 1, vec![0])?)?;
        let mut test = Dataset::new(vec![1e-30, 1e30], 1, vec![0, 1])?;
        let error = tiny.apply(&mut test).unwrap_err().to_string();
        assert!(error.ends_with("in column 1, scaled = inf is out of range: finite"), "{error}");
        assert_eq!(test.features, [1e-30, 1e30]);
        Ok(())
    }
}

mod csv_files {
    use super::*;

    fn parse(content: impl AsRef<[u8]>) -> Result<Dataset> {
        let folder = Folder::new()?;
        Ok(csv::read(folder.write("rows.csv", content)?)?)
    }

    /// The message for a content, after the file's name.
    fn refusal(content: impl AsRef<[u8]>) -> Result<String> {
        let folder = Folder::new()?;
        let path = folder.write("rows.csv", content)?;
        Ok(text(csv::read(&path), &path))
    }

    #[test]
    fn rows_come_back_plain_and_gzipped() -> Result<()> {
        let mut content = String::new();
        let data = digits();
        for (row, label) in data.features.chunks(data.width).zip(&data.labels) {
            let fields: Vec<String> = row.iter().map(|x| (x / 7.0).to_string()).collect();
            content += &format!("{},{label}\n", fields.join(","));
        }
        let folder = Folder::new()?;
        let plain = csv::read(folder.write("plain.csv", &content)?)?;
        let zipped = csv::read(folder.write("zipped.csv", gzip(content.as_bytes())?)?)?;
        assert_eq!(plain.labels, data.labels);
        assert!(plain.features.iter().zip(&data.features).all(|(found, x)| *found == x / 7.0));
        assert_eq!(plain, zipped);
        Ok(())
    }

    #[test]
    fn the_first_line_is_a_header_exactly_when_its_first_field_is_no_number() -> Result<()> {
        assert_eq!(parse("a,b\n1,0\n2,1\n")?.features, [1.0, 2.0]);
        assert_eq!(parse("0.5,0\n1,1\n")?.features, [0.5, 1.0]);
        assert_eq!(refusal("0.5,x,0\n1,2,1\n")?, ", line 1, column 2: 'x' is not a finite number");
        Ok(())
    }

    #[test]
    fn blanks_quotes_line_ends_and_a_byte_order_mark_do_not_matter() -> Result<()> {
        let expected = parse("1,2,0\n3,4,1\n")?;
        for content in
            ["1,2,0\r\n3,4,1\r\n", "1,2,0\r3,4,1", " 1, 2,0 \n\n\n3,4 , 1", "\"1\",2,0\n3,\"4\",1\n", "\u{feff}1,2,0\n3,4,1\n"]
        {
            assert_eq!(parse(content)?, expected, "{content:?}");
        }
        Ok(())
    }

    #[test]
    fn integral_labels_are_the_classes_themselves() -> Result<()> {
        let data = parse("1,3.0\n1,0\n1,1e0\n")?;
        assert_eq!((data.labels, data.classes, data.class_names), (vec![3, 0, 1], 4, vec![]));
        Ok(())
    }

    #[test]
    fn text_labels_are_numbered_in_their_order() -> Result<()> {
        let data = parse("x,species\n1,pine\n1,\"fir, white\"\n1,pine\n1,7\n")?;
        assert_eq!((data.labels, data.classes), (vec![2, 1, 2, 0], 3));
        assert_eq!(data.class_names, ["7", "fir, white", "pine"]);
        let (train, test) = parse("1,a\n2,a\n3,b\n4,b\n")?.split(0.5, 0)?;
        assert_eq!((train.class_names, test.class_names), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
        Ok(())
    }

    #[test]
    fn every_refusal_names_file_line_and_column() -> Result<()> {
        let cases: &[(&str, &str)] = &[
            ("1,2,0\n1,0\n", ", line 2, column 3: 2 fields found, 3 expected as in the first line"),
            ("1,2,0\n1,2,3,0\n", ", line 2, column 4: 4 fields found, 3 expected as in the first line"),
            ("a,b,c\n1,2,0\n1,two,1\n", ", line 3, column 2: 'two' is not a finite number"),
            ("1,2,0\n1,,1\n", ", line 2, column 2: '' is not a finite number"),
            ("1,2,0\nNaN,2,1\n", ", line 2, column 1: 'NaN' is not a finite number"),
            ("1,inf,0\n", ", line 1, column 2: 'inf' is not a finite number"),
            ("1,1e39,0\n", ", line 1, column 2: '1e39' is not a finite number"),
            ("1\n2\n", ", line 1, column 1: 1 column found, at least 2 expected: features and the label, separated by commas"),
            ("1;2;0\n", ", line 1, column 1: 1 column found, at least 2 expected: features and the label, separated by commas"),
            ("1,0\n1,-1\n", ", line 2, column 2: the label '-1' is negative; classes count from 0"),
            ("1,0\n1,0.5\n", ", line 2, column 2: the label '0.5' is not an integer"),
            ("1,0\n1,nan\n", ", line 2, column 2: the label 'nan' is not an integer"),
            ("1,0\n1,65536\n", ", line 2, column 2: the label '65536' is above 65535, the largest class"),
            ("1,0\n1,\n", ", line 2, column 2: the label is empty"),
            ("", ": the file is empty"),
            ("\n\n", ": the file is empty"),
            ("a,b\n", ": a header and no rows"),
        ];
        for (content, expected) in cases {
            assert_eq!(refusal(content)?, *expected, "{content:?}");
            assert_eq!(refusal(gzip(content.as_bytes())?)?, *expected, "{content:?}, gzipped");
        }
        Ok(())
    }

    #[test]
    fn lines_are_counted_whatever_ends_them_and_blank_ones_too() -> Result<()> {
        for content in ["1,0\r\n2,0\r\n\r\nx,1\r\n", "1,0\n2,0\n\nx,1\n", "1,0\r2,0\r\rx,1\r", "\n1,0\n\rx,1"] {
            assert_eq!(refusal(content)?, ", line 4, column 1: 'x' is not a finite number", "{content:?}");
        }
        let content = "a,b\n1,\"two\nlines\"\nx,1\n";
        assert_eq!(refusal(content)?, ", line 4, column 1: 'x' is not a finite number");
        Ok(())
    }

    #[test]
    fn text_that_is_not_utf8_is_named_with_its_place() -> Result<()> {
        assert_eq!(refusal(b"1,2,0\n\n1,\xff,0\n")?, ", line 3, column 2: not UTF-8 text");
        Ok(())
    }

    #[test]
    fn every_member_of_a_gzip_is_read() -> Result<()> {
        assert_eq!(parse([gzip(b"1,0\n")?, gzip(b"2,1\n")?].concat())?, parse("1,0\n2,1\n")?);
        let found = refusal([gzip(b"1,0\n")?, b"2,1\n".to_vec()].concat())?;
        assert!(found.starts_with(": damaged gzip: "), "{found}");
        Ok(())
    }

    #[test]
    fn damaged_gzip_and_missing_files_are_named() -> Result<()> {
        let mut content = gzip(b"1,2,0\n")?;
        content.truncate(content.len() - 6);
        let found = refusal(content)?;
        assert!(found.starts_with(": damaged gzip: "), "{found}");
        let path = Path::new("no/such/file.csv");
        let found = text(csv::read(path), path);
        assert!(found.starts_with(": No such file") || found.contains("cannot find"), "{found}");
        Ok(())
    }

    #[test]
    fn two_thousand_mutations_never_panic() -> Result<()> {
        let folder = Folder::new()?;
        let content = b"a,b,c\n1.5,2,0\r\n\"3\",-4e2,1\n\n5,6,2\n";
        let (mut read, mut refused) = (0, 0);
        for seed in 0..2000 {
            let path = folder.write("rows.csv", mutate(content, seed))?;
            match csv::read(&path) {
                Ok(data) => {
                    assert_eq!(data.check(), Ok(()));
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
        Ok(())
    }
}

mod idx_files {
    use super::*;

    fn images(content: impl AsRef<[u8]>) -> Result<String> {
        let folder = Folder::new()?;
        let path = folder.write("images", content)?;
        Ok(text(idx::read_images(&path), &path))
    }

    fn labels(content: impl AsRef<[u8]>) -> Result<String> {
        let folder = Folder::new()?;
        let path = folder.write("labels", content)?;
        Ok(text(idx::read_labels(&path), &path))
    }

    /// The four files of a set: 3 training images of 2 × 2 pixels in classes 0 to 2, 2 test images.
    fn write_set(folder: &Folder, dash: &str, end: &str) -> Result<()> {
        let files = [
            ("train-images", "idx3-ubyte", idx_file(&[3, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255])),
            ("train-labels", "idx1-ubyte", idx_file(&[3], &[0, 2, 1])),
            ("t10k-images", "idx3-ubyte", idx_file(&[2, 2, 2], &[8, 7, 6, 5, 4, 3, 2, 1])),
            ("t10k-labels", "idx1-ubyte", idx_file(&[2], &[1, 0])),
        ];
        for (name, format, content) in files {
            let content = if end == ".gz" { gzip(&content)? } else { content };
            folder.write(&format!("{name}{dash}{format}{end}"), content)?;
        }
        Ok(())
    }

    /// The message for a set of which one file is replaced.
    fn set_with(name: &str, content: Vec<u8>) -> Result<String> {
        let folder = Folder::new()?;
        write_set(&folder, "-", "")?;
        folder.write(name, content)?;
        Ok(text(idx::read_directory(folder.path()), folder.path()))
    }

    #[test]
    fn a_directory_comes_back_in_every_spelling() -> Result<()> {
        for (dash, end) in [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")] {
            let folder = Folder::new()?;
            write_set(&folder, dash, end)?;
            let (train, test) = idx::read_directory(folder.path())?;
            assert_eq!(train.features, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 255.0]);
            assert_eq!((train.width, train.labels, train.classes), (4, vec![0, 2, 1], 3));
            assert_eq!(test.features, [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
            assert_eq!((test.width, test.labels, test.classes), (4, vec![1, 0], 3));
        }
        Ok(())
    }

    #[test]
    fn images_may_have_any_number_of_dimensions_from_two() -> Result<()> {
        let folder = Folder::new()?;
        for sizes in [&[2, 12][..], &[2, 3, 4], &[2, 3, 2, 2]] {
            let path = folder.write("images", idx_file(sizes, &[7; 24]))?;
            assert_eq!(idx::read_images(path)?, (vec![7.0; 24], 12));
        }
        Ok(())
    }

    #[test]
    fn a_wrong_magic_number_is_named_beside_the_expected_one() -> Result<()> {
        let file = idx_file(&[1], &[5]);
        assert_eq!(images(&file)?, ": magic number 0x00000801 found, 0x00000803 expected");
        let mut file = idx_file(&[1, 1, 1], &[5]);
        assert_eq!(labels(&file)?, ": magic number 0x00000803 found, 0x00000801 expected");
        file[2] = 0x0d;
        assert_eq!(images(&file)?, ": magic number 0x00000d03 found, 0x00000803 expected");
        assert_eq!(images("1,2,3\n")?, ": magic number 0x312c322c found, 0x00000803 expected");
        Ok(())
    }

    #[test]
    fn a_truncated_file_names_both_lengths() -> Result<()> {
        assert_eq!(images(idx_file(&[2, 2, 2], &[5; 7]))?, ": 23 bytes found, 24 expected");
        assert_eq!(images(gzip(&idx_file(&[2, 2, 2], &[5; 7]))?)?, ": 23 bytes found, 24 expected");
        assert_eq!(labels(idx_file(&[9], &[]))?, ": 8 bytes found, 17 expected");
        assert_eq!(labels(&idx_file(&[9], &[])[..7])?, ": 7 bytes found, 8 expected");
        assert_eq!(images([0, 0, 8])?, ": 3 bytes found, 4 expected");
        assert_eq!(images([])?, ": 0 bytes found, 4 expected");
        // A header that promises 4 GiB is compared before anything is made.
        assert_eq!(labels(idx_file(&[u32::MAX], &[1]))?, ": 9 bytes found, 4294967303 expected");
        Ok(())
    }

    #[test]
    fn trailing_bytes_are_refused_with_both_lengths() -> Result<()> {
        assert_eq!(labels(idx_file(&[2], &[1, 2, 3, 4, 5]))?, ": 13 bytes found, 10 expected");
        Ok(())
    }

    #[test]
    fn sizes_whose_product_overflows_are_refused() -> Result<()> {
        let expected = ": the product of the sizes [4294967295, 4294967295, 4294967295] overflows";
        assert_eq!(images(idx_file(&[u32::MAX; 3], &[1]))?, expected);
        Ok(())
    }

    #[test]
    fn files_that_hold_nothing_are_refused() -> Result<()> {
        assert_eq!(images(idx_file(&[0, 28, 28], &[]))?, ": the file holds no images");
        assert_eq!(images(idx_file(&[5, 0, 28], &[]))?, ": the images have no pixels");
        assert_eq!(labels(idx_file(&[0], &[]))?, ": the file holds no labels");
        Ok(())
    }

    #[test]
    fn a_missing_file_names_every_spelling() -> Result<()> {
        let folder = Folder::new()?;
        write_set(&folder, "-", "")?;
        fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte"))?;
        let expected = ": no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz \
                        or t10k-labels.idx1-ubyte or t10k-labels.idx1-ubyte.gz";
        assert_eq!(text(idx::read_directory(folder.path()), folder.path()), expected);
        let nowhere = folder.path().join("nowhere");
        assert_eq!(text(idx::read_directory(&nowhere), &nowhere), ": no such directory");
        Ok(())
    }

    #[test]
    fn images_and_labels_that_differ_in_number_name_both() -> Result<()> {
        let found = set_with("train-labels-idx1-ubyte", idx_file(&[2], &[0, 1]))?;
        assert!(found.contains("train-labels-idx1-ubyte: 2 labels for the 3 images of "), "{found}");
        assert!(found.ends_with("train-images-idx3-ubyte"), "{found}");
        Ok(())
    }

    #[test]
    fn test_images_of_another_size_are_refused() -> Result<()> {
        let found = set_with("t10k-images-idx3-ubyte", idx_file(&[2, 3, 3], &[1; 18]))?;
        assert_eq!(found, ": test images of 9 pixels, training images of 4");
        Ok(())
    }

    #[test]
    fn a_test_label_outside_the_training_classes_is_refused() -> Result<()> {
        let found = set_with("t10k-labels-idx1-ubyte", idx_file(&[2], &[0, 9]))?;
        assert_eq!(found, ": test label 9 is outside the training classes 0 to 2");
        Ok(())
    }

    #[test]
    fn what_a_path_is_chooses_the_reader() -> Result<()> {
        let folder = Folder::new()?;
        write_set(&folder, "-", "")?;
        let (train, test) = idx::read_directory(folder.path())?;
        assert_eq!(read(folder.path())?, (train, Some(test)));
        let path = folder.write("rows.csv", "1,0\n2,1\n")?;
        assert_eq!(read(&path)?, (csv::read(&path)?, None));
        Ok(())
    }

    #[test]
    fn two_thousand_mutations_never_panic() -> Result<()> {
        let folder = Folder::new()?;
        let content = idx_file(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let zipped = gzip(&content)?;
        let (mut whole, mut refused) = (0, 0);
        for seed in 0..2000 {
            let path = folder.write("images", mutate(if seed % 4 == 0 { &zipped } else { &content }, seed))?;
            match idx::read_images(&path) {
                Ok((features, width)) => {
                    assert!(width > 0 && !features.is_empty() && features.len() % width == 0);
                    whole += 1;
                }
                Err(_) => refused += 1,
            }
            let _ = idx::read_labels(&path);
        }
        assert!(whole > 100 && refused > 100, "{whole} read, {refused} refused");
        Ok(())
    }
}

/// Up to four changes: a byte replaced, removed or inserted, a bit flipped, or the end cut off.
fn mutate(content: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut content = content.to_vec();
    for _ in 0..rng.usize(1..=4) {
        if content.is_empty() {
            break;
        }
        let i = rng.usize(..content.len());
        match rng.u8(..9) {
            0 | 1 => content[i] = rng.u8(..),
            2 | 3 => content[i] = b"0,.-\n\"\rx"[rng.usize(..8)],
            4 => drop(content.remove(i)),
            5 => content.insert(i, rng.u8(..)),
            6 | 7 => content[i] ^= 1 << rng.u8(..8),
            _ => content.truncate(i),
        }
    }
    content
}
