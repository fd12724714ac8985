//! Data sets, their split and scaling, and the readers of CSV and IDX files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use thalweg::Error;
use thalweg::data::csv::{Header, Learn, Missing, Options, Table};
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

pub fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// An error's text without the path in front.
fn text<T>(result: thalweg::Result<T>, path: &Path) -> String {
    let text = result.err().map_or("no error".into(), |error| error.to_string());
    text.strip_prefix(&path.display().to_string()).map_or(text.clone(), String::from)
}

/// A file of unsigned bytes in these dimensions.
pub fn idx_file(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut content = vec![0, 0, 8, sizes.len() as u8];
    content.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    content.extend(values);
    content
}

/// A data set whose only feature is the row's number, so that rows can be distinguished.
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
            (Dataset::new(vec![1.0, f32::NAN], 1, vec![0; 2]), "features[row 1, column 0] = NaN is out of range: finite"),
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
        // The plain mean of 0.1 over 1,000 rows is not 0.1, and its error must not count as a deviation.
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
    fn blanks_quotes_line_ends_and_a_byte_order_mark_do_not_matter() -> Result<()> {
        let expected = parse("1,2,0\n3,4,1\n")?;
        for content in [
            "1,2,0\r\n3,4,1\r\n",
            "1,2,0\r3,4,1",
            " 1, 2,0 \n\n\n3,4 , 1",
            "\"1\",2,0\n3,\"4\",1\n",
            "\u{feff}1,2,0\n3,4,1\n",
            "1,2,0\n  \n3,4,1\n   ",
            "1,2,0\n3,4,1\n\t\n,,\n",
        ] {
            assert_eq!(parse(content)?, expected, "{content:?}");
        }
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
            (
                "1,2,0\n1,\"2,0\n3,4,1\n",
                ", line 2, column 3: 2 fields found, 3 expected as in the first line; column 2 goes over several lines: is its quote closed?",
            ),
            ("1,2,0\n1,2,3,0\n", ", line 2, column 4: 4 fields found, 3 expected as in the first line"),
            ("a,b,c\n1,2,0\n1,two,1\n", ", line 3, column 2: 'two' stands in a column of numbers and is none"),
            (
                "1,2,0\n1,,1\n",
                ", line 2, column 2: the cell is empty; `missing` = drop leaves such rows out, mean fills in the mean of the column",
            ),
            (
                "1,2,0\nNaN,2,1\n",
                ", line 2, column 1: the cell 'NaN' stands for a missing value; `missing` = drop leaves such rows out, mean fills in the \
                 mean of the column",
            ),
            ("1,inf,0\n", ", line 1, column 2: 'inf' is not a finite number"),
            ("1,1e39,0\n", ", line 1, column 2: '1e39' is beyond the numbers of single precision, which end at 3.4e38"),
            ("1,-1e300,0\n", ", line 1, column 2: '-1e300' is beyond the numbers of single precision, which end at 3.4e38"),
            ("1,1e999,0\n", ", line 1, column 2: '1e999' is beyond the numbers of single precision, which end at 3.4e38"),
            (
                "1\n2\n",
                ", line 1, column 1: 1 column found, at least 2 expected: features and the label, separated by commas (`delimiter`)",
            ),
            ("1,0\n1,\n", ", line 2, column 2: the label is empty; `missing` = drop leaves such rows out"),
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
            let expected = ", line 4, column 1: 'x' stands in a column of numbers and is none";
            assert_eq!(refusal(content)?, expected, "{content:?}");
        }
        let content = "a,b\n1,\"two\nlines\"\nx,1\n";
        assert_eq!(refusal(content)?, ", line 4, column 1: 'x' stands in a column of numbers and is none");
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
        assert_eq!(found, ": damaged gzip: bytes after its end that are neither gzip nor zeros");
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

    /// The table that is read with these options.
    fn table(content: &str, options: &Options) -> Result<Table> {
        Ok(options.read_from("rows.csv", content.as_bytes())?)
    }

    /// The message for a content with these options, after the stream's name.
    fn refusal_with(content: &str, options: &Options) -> String {
        text(options.read_from("rows.csv", content.as_bytes()).and_then(Table::dataset), Path::new("rows.csv"))
    }

    fn target(text: &str) -> Options {
        Options { target: text.parse().ok(), ..Default::default() }
    }

    /// Rows with two numbers each and these labels.
    fn labelled(labels: &[&str]) -> String {
        labels.iter().enumerate().map(|(i, label)| format!("{i}.5,2,{label}\n")).collect()
    }

    mod header {
        use super::*;

        fn is_header(content: &str) -> Result<bool> {
            Ok(table(content, &Options::default())?.reading().header)
        }

        #[test]
        fn it_is_what_does_not_fit_the_rows_below() -> Result<()> {
            let header = [
                "a,b\n1,0\n2,1\n",
                // pandas' names of columns without names.
                "0,1,2,3,y\n5.1,3.5,1.4,0.2,0\n6.2,3.4,5.4,2.3,1\n",
                "0,1,2,3,species\n5.1,3.5,1.4,0.2,a\n6.2,3.4,5.4,2.3,b\n",
                "0,1,2,3,4\n5.1,3.5,1.4,0.2,0\n6.2,3.4,5.4,2.3,1\n",
                ",0,1,2,y\n0,5.1,3.5,1.4,0\n1,6.2,3.4,5.4,1\n",
                "0,y\n5,0\n6,1\n",
                // Years and a word; wavelengths and a word that names a label.
                "1990,2000,2010,kind\n1,2,3,0\n4,5,6,1\n",
                "350.5,351,351.5,class\n1,2,3,a\n4,5,6,b\n",
                // Text alone.
                "shape,odor,class\nflat,none,e\nflat,foul,p\nbell,none,e\n",
                // Where a cell is missing, the others decide.
                "NA,b,c\n1,2,0\n3,4,1\n",
            ];
            for content in header {
                assert!(is_header(content)?, "{content:?}");
            }
            let rows = [
                "0.5,0\n1,1\n",
                "0,0,0\n0,1,1\n1,0,1\n1,1,0\n",
                "1,2,0\n3,4,1\n",
                "1,2,3\n4,5,6\n",
                "5.1,3.5,setosa\n6.2,3.4,pine\n",
                "flat,none,e\nflat,foul,p\nbell,none,e\n",
            ];
            for content in rows {
                assert!(!is_header(content)?, "{content:?}");
            }
            Ok(())
        }

        /// A first row with a missing cell is a row.
        #[test]
        fn a_missing_cell_makes_no_header() -> Result<()> {
            for cell in ["NA", "", "?", "NaN", "null"] {
                let content = format!("{cell},3.5,a\n6.2,3.4,b\n5,3,a\n");
                let drop = Options { missing: Missing::Drop, ..Default::default() };
                let table = table(&content, &drop)?;
                assert_eq!((table.reading().header, table.reading().dropped), (false, 1), "{cell}");
                assert!(refusal_with(&content, &Options::default()).starts_with(", line 1, column 1: the cell "), "{cell}");
            }
            Ok(())
        }

        #[test]
        fn a_line_in_doubt_is_not_guessed() -> Result<()> {
            let doubt = "is text over a column of numbers, and numbers stand beside it: is this line a header? Say it with `header`, \
                         yes or no";
            assert_eq!(refusal("0.5,x,0\n1,2,1\n")?, format!(", line 1, column 2: 'x' {doubt}"));
            assert_eq!(refusal("5,x,3,0\n1,2,4,1\n")?, format!(", line 1, column 2: 'x' {doubt}"));
            let counts = "1,2,3,4\n0,1,2,3\n5,5,5,3\n";
            assert!(!is_header(counts)?);
            let found = refusal("0,1,2,3\n5,6,7,3\n5,6,7,4\n")?;
            assert!(found.starts_with(", line 1, column 4: '3' is the last of a line that counts its columns"), "{found}");
            // A label that other rows have too shows that the line is a row, with a mistake in it.
            assert_eq!(
                refusal("0.5,x,a\n1,2,b\n3,4,a\n")?,
                ", line 1, column 2: 'x' stands in a column of numbers and is none"
            );
            Ok(())
        }

        #[test]
        fn the_header_option_overrides_the_guess() -> Result<()> {
            let say = |header| Options { header, ..Default::default() };
            assert_eq!(table("0.5,x,0\n1,2,1\n3,4,0\n", &say(Header::Yes))?.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
            let rows = table("0,1,2,y\n1,2,3,a\n1,2,3,a\n", &say(Header::No))?.dataset()?;
            assert_eq!((rows.rows(), rows.class_names), (3, vec!["a".into(), "y".into()]));
            assert_eq!(
                refusal_with("a,b\n1,0\n2,1\n", &say(Header::No)),
                ", line 1, column 1: 'a' stands in a column of numbers and is none"
            );
            Ok(())
        }

        #[test]
        fn a_first_label_that_is_alone_is_doubted() -> Result<()> {
            let labels: Vec<&str> = ["kind"].into_iter().chain((0..24).map(|i| ["a", "b"][i % 2])).collect();
            let table = table(&labelled(&labels), &Options::default())?;
            let expected = "the first line alone has the label 'kind': if it is a header, say so with `header`";
            assert_eq!(table.reading().warnings, [expected]);
            Ok(())
        }
    }

    mod labels {
        use super::*;

        fn classes(labels: &[&str]) -> Result<(Vec<u32>, Vec<String>)> {
            let data = parse(labelled(labels))?;
            assert_eq!(data.classes, data.class_names.len());
            Ok((data.labels, data.class_names))
        }

        #[test]
        fn they_are_values_in_order_and_keep_their_names() -> Result<()> {
            let table: [(&[&str], &[u32], &[&str]); 6] = [
                (&["3.0", "0", "1e0", "3"], &[2, 0, 1, 2], &["0", "1", "3"]),
                (&["65535", "0", "0"], &[1, 0, 0], &["0", "65535"]),
                (&["1", "2", "3"], &[0, 1, 2], &["1", "2", "3"]),
                (&["-1", "1", "+1"], &[0, 1, 1], &["-1", "1"]),
                (&["10", "9", "007"], &[2, 1, 0], &["7", "9", "10"]),
                // Integers come before texts, by value.
                (&["4 or more", "3", "20", "3", "4 or more"], &[2, 0, 1, 0, 2], &["3", "20", "4 or more"]),
            ];
            for (labels, numbers, names) in table {
                assert_eq!(
                    classes(labels)?,
                    (numbers.to_vec(), names.iter().map(|name| name.to_string()).collect()),
                    "{labels:?}"
                );
            }
            Ok(())
        }

        #[test]
        fn a_missing_label_is_refused_by_its_line() -> Result<()> {
            for word in ["NA", "na", "N/A", "NaN", "nan", "-nan", "null", "NULL", "?", "<NA>"] {
                let drop = "`missing` = drop leaves such rows out";
                let expected = format!(", line 3, column 3: the label '{word}' stands for a missing value; {drop}");
                assert_eq!(refusal(labelled(&["0", "1", word, "2"]))?, expected, "{word}");
                assert_eq!(refusal(labelled(&["a", "b", word, "c"]))?, expected, "{word}");
                let dropped = Options { missing: Missing::Drop, ..Default::default() };
                let table = table(&labelled(&["0", "1", word, "2"]), &dropped)?;
                assert_eq!((table.reading().dropped, table.dataset()?.class_names.len()), (1, 3), "{word}");
            }
            // Sodium, and the worst of three grades.
            assert_eq!(classes(&["Na", "none", "Na"])?.1, ["Na", "none"]);
            Ok(())
        }

        #[test]
        fn a_slip_among_numbers_is_refused() -> Result<()> {
            let expected = ", line 3, column 3: the label 'l' is no number, as those of 3 other rows are";
            assert_eq!(refusal(labelled(&["0", "1", "l", "1"]))?, expected);
            Ok(())
        }

        #[test]
        fn one_class_is_nothing_to_learn() -> Result<()> {
            let expected = ": column 3 has the label '7' in all 3 rows, so nothing is to be told apart: is it the label? Say which with \
                            `target`: a name, a number from 1, first or last";
            assert_eq!(refusal(labelled(&["7", "7.0", "7"]))?, expected);
            assert_eq!(
                refusal(format!("a,b,kind\n{}", labelled(&["x"])))?,
                expected.replace("'7' in all 3 rows", "'x' in the only row").replace("column 3", "column 3 'kind'")
            );
            Ok(())
        }

        #[test]
        fn a_quantity_is_told_from_classes() -> Result<()> {
            let quantities: Vec<String> = (0..40).map(|i| (i * i % 13 + 100).to_string()).collect();
            let refs = |labels: &[String]| labelled(&labels.iter().map(String::as_str).collect::<Vec<_>>());
            let regression = "To learn numbers (regression), say `learn` = numbers; to learn classes, make a few ranges of them, or \
                              say with `target` which column is the label";
            // Seven remainders of squares are few; eleven numbers in forty rows are not.
            assert_eq!(parse(refs(&quantities))?.classes, 7);
            let many: Vec<String> = (0..54).map(|i| (i % 11).to_string()).collect();
            let few = "more than 10 numbers are classes if each has 20 rows on average, or all have the same number, 5 or more";
            let text = "Numbers that are names of classes all the same can be written as text, such as c1";
            let why = format!("not like classes: {few}. {regression}. {text}");
            let expected = format!(": column 3 has 11 different numbers in 54 rows, which looks like a quantity, {why}");
            assert_eq!(refusal(refs(&many))?, expected);
            let counted =
                |rows: usize, classes: usize| -> Vec<String> { (0..rows).map(|i| (i % classes).to_string()).collect() };
            // Like the diabetes data of scikit-learn in 49 steps; like its 40 faces; like letters.
            assert!(refusal(refs(&counted(442, 49)))?.contains("column 3 has 49 different numbers in 442 rows"));
            assert!(refusal(refs(&counted(44, 11)))?.contains("column 3 has 11 different numbers in 44 rows"));
            for (rows, classes) in [(55, 11), (400, 40), (521, 26)] {
                assert_eq!(parse(refs(&counted(rows, classes)))?.classes, classes);
            }
            assert!(refusal(refs(&counted(519, 26)))?.contains("column 3 has 26 different numbers in 519 rows"));
            let named: Vec<String> = counted(442, 49).into_iter().map(|number| format!("c{number}")).collect();
            assert_eq!(parse(refs(&named))?.classes, 49);
            let ids: Vec<String> = (0..30).map(|i| i.to_string()).collect();
            let expected = format!(
                ": column 3 has a different number in each of the 30 rows, which looks like an identifier or a quantity, {why}"
            );
            assert_eq!(refusal(refs(&ids))?, expected);
            let expected = format!(
                ", line 2, column 3: the label '0.5' is a fraction, so the column looks like a quantity, not like classes. {regression}"
            );
            assert_eq!(refusal(labelled(&["0", "0.5", "1"]))?, expected);
            assert_eq!(refusal(labelled(&["0", "inf", "1"]))?, ", line 2, column 3: the label 'inf' is not an integer");
            Ok(())
        }

        #[test]
        fn numbers_are_learned_where_it_is_said_or_seen() -> Result<()> {
            let read = |labels: &[&str], learn: Learn| {
                let read = table(&labelled(labels), &Options { learn, ..Default::default() });
                read.and_then(|table| Ok((table.form(), table.dataset()?)))
            };
            let said = |labels: &[&str], learn| read(labels, learn).map(|(_, data)| (data.targets, data.labels));
            for learn in [Learn::Numbers, Learn::Auto] {
                let (form, data) = read(&["0", "0.5", "-2e3"], learn)?;
                assert_eq!((&data.targets[..], data.target_width, data.classes), (&[0.0, 0.5, -2000.0][..], 1, 0));
                assert!(form.classes.is_empty() && data.labels.is_empty() && data.class_names.is_empty());
                // Rows of another file have numbers of their own.
                let (rows, _) = form.rows_from("b.csv", "1,2,7\n3,4,7\n".as_bytes(), &[0.0; 2], &Options::default())?;
                assert_eq!((rows.targets, rows.features), (vec![7.0, 7.0], vec![1.0, 2.0, 3.0, 4.0]));
            }
            assert_eq!(said(&["1", "0", "1"], Learn::Numbers)?, (vec![1.0, 0.0, 1.0], vec![]));
            assert_eq!(said(&["1", "0", "1"], Learn::Auto)?, (vec![], vec![1, 0, 1]));
            // Thirty different numbers are a quantity, unless they just count the rows.
            let squares: Vec<String> = (0..30).map(|i| (i * i).to_string()).collect();
            let counts: Vec<String> = (5..35).map(|i| i.to_string()).collect();
            let auto = |texts: &[String]| said(&texts.iter().map(String::as_str).collect::<Vec<_>>(), Learn::Auto);
            assert_eq!(auto(&squares)?.0.len(), 30);
            let error = auto(&counts).expect_err("an identifier").to_string();
            assert!(error.contains("looks like an identifier or a quantity"), "{error}");
            for (labels, says) in [
                (["1", "x", "2"], ", line 2, column 3: the label 'x' is not a finite number of single precision"),
                (["1", "1e39", "2"], ", line 2, column 3: the label '1e39' is not a finite number of single precision"),
                (["7", "7", "7"], ": column 3 is 7 in all 3 rows, so nothing is to be predicted"),
            ] {
                let error = said(&labels, Learn::Numbers).expect_err("no numbers").to_string();
                assert!(error.ends_with(says), "{error}");
            }
            Ok(())
        }

        #[test]
        fn one_row_per_class_cannot_be_split() -> Result<()> {
            let error = |labels: &[&str]| {
                table(&labelled(labels), &Options::default()).map(|table| text(table.split(0.2, 1), Path::new("rows.csv")))
            };
            assert_eq!(
                error(&["a", "b", "c"])?,
                ": every class has one row: is column 3 an identifier? Say with `target` which column is the label; the test part of 3 \
                 rows at test_fraction = 0.2 is empty"
            );
            let found = error(&["a", "b", "b"])?;
            assert!(found.starts_with(": too few rows: no class has more than 2, of which 0.2 for testing"), "{found}");
            Ok(())
        }

        #[test]
        fn odd_labels_are_warned_of() -> Result<()> {
            let warnings = |labels: &[&str]| {
                Ok::<_, anyhow::Error>(table(&labelled(labels), &Options::default())?.reading().warnings.clone())
            };
            assert_eq!(warnings(&["Setosa", "setosa", "x"])?, ["the classes 'Setosa' and 'setosa' differ only in case"]);
            let mut rare = vec!["0"; 39];
            rare.push("1");
            assert_eq!(
                warnings(&rare)?,
                ["98 % of the rows have the label '0': is it in another column? Say which with `target`"]
            );
            assert_eq!(warnings(&["a", "b", "a"])?, Vec::<String>::new());
            Ok(())
        }
    }

    mod columns {
        use super::*;

        const IRIS: &str = "width,length,species\n1,2,a\n3,4,b\n5,6,a\n";

        fn features(content: &str, options: &Options) -> Result<(Vec<f32>, Vec<String>)> {
            let data = table(content, options)?.dataset()?;
            Ok((data.features, data.class_names))
        }

        #[test]
        fn the_target_is_chosen_by_name_number_or_place() -> Result<()> {
            let last = (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec!["a".into(), "b".into()]);
            for name in ["species", "Species", "3", "last"] {
                assert_eq!(features(IRIS, &target(name))?, last, "{name}");
            }
            let first = "kind,a,b\n1,1,2\n0,3,4\n1,5,6\n";
            for name in ["kind", "1", "first"] {
                assert_eq!(features(first, &target(name))?, (last.0.clone(), vec!["0".into(), "1".into()]), "{name}");
                let bare = first.split_once('\n').map_or("", |(_, rows)| rows);
                if name != "kind" {
                    assert_eq!(features(bare, &target(name))?, (last.0.clone(), vec!["0".into(), "1".into()]), "{name}");
                }
            }
            // A name of the header goes before a number.
            let numbers = "0,1,2,3\n9,1,2,5\n8,3,4,6\n";
            assert_eq!(table(numbers, &target("0"))?.reading().label, "column 1 '0'");
            assert_eq!(table(numbers, &target("4"))?.reading().label, "column 4 '3'");
            Ok(())
        }

        #[test]
        fn a_target_that_is_not_there_names_the_nearest() -> Result<()> {
            assert_eq!(
                refusal_with(IRIS, &target("spieces")),
                ": no column 'spieces'; did you mean 'species'? (the header has 'width', 'length', 'species')"
            );
            assert_eq!(refusal_with(IRIS, &target("mass")), ": no column 'mass' (the header has 'width', 'length', 'species')");
            assert_eq!(refusal_with(IRIS, &target("4")), ": no column 4; there are 3, counted from 1");
            assert_eq!(refusal_with(IRIS, &target("0")), ": no column 0; there are 3, counted from 1");
            let expected = ": no column 'y': the first line is no header (see `header`); number columns from 1";
            assert_eq!(refusal_with("1,0\n2,1\n", &target("y")), expected);
            assert_eq!(
                refusal_with("a,a,b\n1,2,0\n3,4,1\n", &target("a")),
                ": 2 columns are called 'a': say which by its number"
            );
            Ok(())
        }

        /// Images without a header whose label comes first: the last pixel is not the label.
        #[test]
        fn a_first_column_of_classes_is_not_passed_over_for_numbers() -> Result<()> {
            let rows = |label: &dyn Fn(usize) -> String, last: &dyn Fn(usize) -> String| -> String {
                (0..60).map(|i| format!("{},0.{i},{}\n", label(i), last(i))).collect()
            };
            let number = |i: usize| (i % 3).to_string();
            let letter = |i: usize| ["a", "b", "c"][i % 3].to_string();
            let pixel = |i: usize| if i < 50 { "0".into() } else { i.to_string() };
            let asked = |first: &str| format!(": which is the label, {first}? Say it with `target`");
            let three = "column 1, which looks like 3 classes, or the last, column 3";
            for last in [&pixel as &dyn Fn(usize) -> String, &|_| "0".into(), &|i| format!("{i}.5"), &|i| i.to_string()] {
                assert_eq!(refusal(rows(&number, last))?, asked(three));
                assert_eq!(refusal(rows(&letter, last))?, asked(three));
            }
            let named = format!("kind,x,z\n{}", rows(&number, &pixel));
            let first = "column 1 'kind', which looks like 3 classes, or the last, column 3 'z'";
            assert_eq!(refusal(&named)?, asked(first));
            assert_eq!(table(&named, &target("kind"))?.dataset()?.classes, 3);
            // The last column is the label if it is text, if it looks like classes, or if its name says so.
            assert_eq!(parse(rows(&number, &letter))?.classes, 3);
            assert_eq!(parse(rows(&number, &|i| (i % 2).to_string()))?.classes, 2);
            let label = format!("kind,x,y\n{}", rows(&number, &|i| (if i < 3 { 1 } else { 0 }).to_string()));
            assert_eq!(parse(label)?.classes, 2);
            // So it is where the first column has a rare value, too.
            let rare = |i: usize| (if i < 4 { 9 } else { i % 2 }).to_string();
            assert!(!refusal(rows(&rare, &|i| format!("{i}.5")))?.contains("which is the label"));
            Ok(())
        }

        /// The files in scikit-learn's own folder.
        #[test]
        fn a_line_of_counts_is_no_row_and_names_the_classes() -> Result<()> {
            let content = "4,2,iris,lily\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n";
            let read = table(content, &Options::default())?;
            assert!(read.reading().counts && !read.reading().header);
            let data = read.dataset()?;
            assert_eq!((data.rows(), data.class_names), (4, vec!["iris".into(), "lily".into()]));
            let broken = refusal("4,2,iris,lily\n1,2,0\n3,four,1\n5,6,0\n7,8,1\n")?;
            assert_eq!(broken, ", line 3, column 2: 'four' stands in a column of numbers and is none");
            // A first line with other counts is an ordinary row.
            for content in [content.replacen('4', "3", 1), content.replacen('2', "3", 1)] {
                assert!(refusal(content)?.contains("line 2, column 4: 3 fields found, 4 expected"));
            }
            // Names for other numbers are not used.
            let three = table(&content.replace(",1\n", ",2\n"), &Options::default())?;
            assert_eq!(three.dataset()?.class_names, ["0", "2"]);
            Ok(())
        }

        /// Kaggle's MNIST has its label first.
        #[test]
        fn a_column_that_is_called_label_elsewhere_is_not_passed_over() -> Result<()> {
            for name in ["label", "Class", "target", "Y"] {
                let content = format!("{name},p0,p1\n1,2,0\n0,4,1\n");
                let expected =
                    format!(": which is the label, column 1 '{name}' or the last, column 3 'p1'? Say it with `target`");
                assert_eq!(refusal(&content)?, expected);
                assert_eq!(table(&content, &target(name))?.reading().label, format!("column 1 '{name}'"));
                assert_eq!(table(&content, &target("last"))?.reading().label, "column 3 'p1'");
            }
            assert_eq!(table("x,y,class\n1,2,0\n3,4,1\n", &Options::default())?.reading().label, "column 3 'class'");
            Ok(())
        }

        #[test]
        fn columns_are_left_out() -> Result<()> {
            let ignore =
                |names: &[&str]| Options { ignore: names.iter().map(|name| name.to_string()).collect(), ..Default::default() };
            for names in [&["length"][..], &["2"], &["2", "LENGTH"]] {
                assert_eq!(features(IRIS, &ignore(names))?.0, [1.0, 3.0, 5.0], "{names:?}");
            }
            assert_eq!(table(IRIS, &ignore(&["length"]))?.reading().left_out, ["column 2 'length'"]);
            assert_eq!(refusal_with(IRIS, &ignore(&["width", "length"])), ": no column is left for features");
            assert_eq!(
                refusal_with(IRIS, &ignore(&["species"])),
                ": column 3 'species' is the label and cannot be left out: say with `target` which other column is"
            );
            assert_eq!(
                refusal_with(IRIS, &ignore(&["lenght"])).split(" (").next(),
                Some(": no column 'lenght'; did you mean 'length'?")
            );
            Ok(())
        }

        #[test]
        fn an_index_without_a_name_is_left_out() -> Result<()> {
            for name in ["", "\"\"", "Unnamed: 0"] {
                // In order, and as a split of rows leaves it.
                for index in [[0, 1, 2], [1, 2, 3], [104, 7, 55]] {
                    let [a, b, c] = index;
                    let content = format!("{name},x,y\n{a},1,0\n{b},2,1\n{c},3,0\n");
                    let table = table(&content, &Options::default())?;
                    let called = if name.starts_with('U') { "column 1 'Unnamed: 0'" } else { "column 1" };
                    let expected = format!("{called}, an index without a name, as pandas writes it,");
                    assert_eq!(table.reading().left_out, [expected], "{content}");
                    assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0], "{content}");
                }
            }
            assert_eq!(features(",x,y\n5,1,0\n5,2,1\n", &Options::default())?.0, [5.0, 1.0, 5.0, 2.0], "not distinct");
            Ok(())
        }

        #[test]
        fn an_index_with_a_name_is_doubted() -> Result<()> {
            let rows: String = (1..=30).map(|i| format!("{i},2.5,{}\n", i % 2)).collect();
            let warnings =
                |content: &str| Ok::<_, anyhow::Error>(table(content, &Options::default())?.reading().warnings.clone());
            let doubt = "counts the rows: if it is an index and no feature, leave it out with `ignore`";
            assert_eq!(warnings(&format!("Id,x,kind\n{rows}"))?, [format!("column 1 'Id' {doubt}")]);
            assert_eq!(warnings(&rows)?, [format!("column 1 {doubt}")]);
            assert_eq!(warnings(&rows.replacen("1,", "3,", 1))?, Vec::<String>::new());
            Ok(())
        }

        #[test]
        fn texts_are_categories() -> Result<()> {
            let content = "sex,age,port,y\nmale,22,S,0\nfemale,38,C,1\nmale,26,Q,1\n";
            let table = table(content, &Options::default())?;
            let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
            let categories =
                [("column 1 'sex'".into(), texts(&["female", "male"])), ("column 3 'port'".into(), texts(&["C", "Q", "S"]))];
            assert_eq!(table.reading().categories, categories);
            let data = table.dataset()?;
            assert_eq!(data.width, 6);
            assert_eq!(data.features, [0., 1., 22., 0., 0., 1., 1., 0., 38., 1., 0., 0., 0., 1., 26., 0., 1., 0.]);
            let names: String = (0..30).map(|i| format!("name {i},{i},{}\n", i % 2)).collect();
            let expected = ": column 1 has 30 different texts in 30 rows, which are no categories: leave it out with `ignore`";
            assert_eq!(refusal(&names)?, expected);
            Ok(())
        }

        #[test]
        fn a_column_without_values_is_named() -> Result<()> {
            let mean = Options { missing: Missing::Mean, ..Default::default() };
            let expected = ": column 2 'b' has no value in any row: leave it out with `ignore`";
            assert_eq!(refusal_with("a,b,c\n1,,0\n2,NA,1\n", &mean), expected);
            let no_label = "the label, has no value in any row.";
            let say = "Say with `target` which column is the label";
            let expected = format!(": column 3, {no_label} Do the lines end with a delimiter? {say}");
            let drop = Options { missing: Missing::Drop, ..Default::default() };
            for options in [&Options::default(), &mean, &drop] {
                assert_eq!(refusal_with("1,0,\n2,1,\n", options), expected);
            }
            assert_eq!(refusal_with("a,b\n,1\n,2\n", &target("a")), format!(": column 1 'a', {no_label} {say}"));
            let none = ": all 2 rows have a missing cell, so `missing` = drop leaves none";
            assert_eq!(refusal_with("NA,0\n2,NA\n", &drop), none);
            Ok(())
        }

        #[test]
        fn a_decimal_comma_is_named() -> Result<()> {
            let point = "numbers are written with a point (5.1), and without a mark for thousands";
            let expected = format!(", line 2, column 1: '5,1' has a decimal comma; {point}");
            assert_eq!(refusal("a;b;c\n5,1;3;0\n4,9;2;1\n")?, expected);
            assert_eq!(refusal("5,1;3,5;0\n4,9;2,5;1\n")?, expected.replace("line 2", "line 1"));
            assert_eq!(refusal("a,b\n\"5,1\",0\n\"4,9\",1\n")?, expected);
            let later = refusal("a;b\n1;0\n2;1\n\n5,1;0\n")?;
            assert_eq!(later, expected.replace("line 2", "line 5"));
            Ok(())
        }

        #[test]
        fn the_delimiter_is_guessed_or_given() -> Result<()> {
            let rows = "a,b,kind\n1,2,x\n3,4,y\n";
            for delimiter in [',', ';', '\t'] {
                let content = rows.replace(',', &delimiter.to_string());
                let table = table(&content, &Options::default())?;
                assert_eq!(table.reading().delimiter, delimiter);
                assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
            }
            let bar = Options { delimiter: Some(b'|'), ..Default::default() };
            assert_eq!(table(&rows.replace(',', "|"), &bar)?.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
            // One blank or more, tabs among them.
            let blanks = "\n a  b   kind\n1\t 2 x \n  3 4 y\n";
            for options in [Options::default(), Options { delimiter: Some(b' '), ..Default::default() }] {
                let table = table(blanks, &options)?;
                assert_eq!((table.reading().delimiter, table.reading().label.as_str()), (' ', "column 3 'kind'"));
                assert_eq!(table.dataset()?.features, [1.0, 2.0, 3.0, 4.0]);
            }
            assert_eq!(parse("1 2 \"a  b\"\n3 4 c\n")?.class_names, ["a  b", "c"]);
            assert!(refusal("1 2 x\n3 four y\n5 6 x\n")?.starts_with(", line 2, column 2: "));
            assert_eq!(parse("a b,kind\n1,x\n2,y\n")?.class_names, ["x", "y"]);
            // Commas and semicolons within cells.
            assert_eq!(parse("1,2,a;b\n3,4,c;d\n")?.class_names, ["a;b", "c;d"]);
            assert_eq!(parse("1;2;\"a, b\"\n3;4;\"c, d\"\n")?.class_names, ["a, b", "c, d"]);
            assert_eq!(parse("1,2,\"a;b\"\n3,4,c\n")?.class_names, ["a;b", "c"]);
            Ok(())
        }
    }

    mod missing {
        use super::*;

        const GAPS: &str = "1,a,0\nNA,b,1\n3,,0\n5,b,1\n";

        #[test]
        fn rows_are_left_out_or_filled_in() -> Result<()> {
            let with = |missing| table(GAPS, &Options { missing, ..Default::default() });
            let dropped = with(Missing::Drop)?;
            assert_eq!((dropped.reading().dropped, dropped.reading().filled), (2, 0));
            assert_eq!(dropped.dataset()?.features, [1.0, 1.0, 0.0, 5.0, 0.0, 1.0]);
            let filled = with(Missing::Mean)?;
            assert_eq!((filled.reading().dropped, filled.reading().filled), (0, 2));
            assert_eq!(filled.dataset()?.features, [1.0, 1.0, 0.0, 3.0, 0.0, 1.0, 3.0, 0.0, 0.0, 5.0, 0.0, 1.0]);
            Ok(())
        }

        /// Nothing of the test part is used for the means.
        #[test]
        fn the_mean_is_that_of_the_training_part() -> Result<()> {
            let content: String =
                (0..40).map(|i| format!("{},7,{}\n", if i % 5 == 0 { "NA".into() } else { i.to_string() }, i % 2)).collect();
            let table = table(&content, &Options { missing: Missing::Mean, ..Default::default() })?;
            let (train, test) = table.split(0.25, 3)?;
            assert_eq!((train.rows(), test.rows()), (30, 10));
            let column = |data: &Dataset| data.features.iter().step_by(2).copied().collect::<Vec<f32>>();
            // Rows whose number is a multiple of 5 are the holes.
            let known: Vec<f64> =
                column(&train).into_iter().map(f64::from).filter(|x| x.fract() == 0.0 && x % 5.0 != 0.0).collect();
            let mean = (known.iter().sum::<f64>() / known.len() as f64) as f32;
            let holes = |data: &Dataset| column(data).iter().filter(|x| **x == mean).count();
            assert!(mean.fract() != 0.0 && holes(&train) > 0 && holes(&test) > 0, "{mean} in {train:?} and {test:?}");
            assert_eq!(holes(&train) + holes(&test), 8);
            Ok(())
        }
    }

    mod test_file {
        use super::*;

        const TRAIN: &str = "a,port,kind\n1,S,x\n3,C,y\n5,S,x\n";

        fn joined(train: &str, test: &str, options: &Options) -> Result<(Dataset, Dataset, csv::Reading)> {
            let folder = Folder::new()?;
            let path = folder.write("test.csv", test)?;
            Ok(table(train, options)?.with_test(path, options)?)
        }

        #[test]
        fn it_has_the_columns_and_classes_of_the_training_file() -> Result<()> {
            let (train, test, _) = joined(TRAIN, "kind,port,b,a\ny,S,0,7\ny,C,0,8\n", &target("kind"))?;
            assert_eq!(train.features, [1.0, 0.0, 1.0, 3.0, 1.0, 0.0, 5.0, 0.0, 1.0]);
            assert_eq!((test.features, test.labels), (vec![7.0, 0.0, 1.0, 8.0, 1.0, 0.0], vec![1, 1]));
            assert_eq!((test.classes, test.class_names), (2, vec!["x".into(), "y".into()]));
            let (_, test, _) = joined("1,2,0\n3,4,1\n", "5,6,1\n", &Options::default())?;
            assert_eq!((test.features, test.labels), (vec![5.0, 6.0], vec![1]));
            Ok(())
        }

        #[test]
        fn what_it_lacks_or_has_beyond_is_named() -> Result<()> {
            let refused = |train: &str, test: &str| {
                joined(train, test, &target("last")).map_or_else(|error| error.to_string(), |_| "no error".into())
            };
            let cases = [
                (TRAIN, "a,port\n1,S\n", "line 1, column 1: the header has no column 'kind', which rows.csv has"),
                (TRAIN, "a,port,kind\n1,S,z\n", "line 2, column 3: the label 'z' is not among the training labels 'x', 'y'"),
                (
                    TRAIN,
                    "1,S,x\n",
                    "line 1, column 1: this line names none of the columns of rows.csv: a header is expected, as that has one",
                ),
                (TRAIN, "a,port,kind\nfour,S,x\n", "line 2, column 1: 'four' is not a number"),
                (TRAIN, "a,port,kind\n", "no rows"),
                ("1,2,0\n3,4,1\n", "1,2,0,1\n", "line 1, column 4: 4 fields found, 3 expected as in rows.csv"),
            ];
            for (train, test, expected) in cases {
                let found = refused(train, test);
                assert!(found.ends_with(expected), "{found}");
            }
            Ok(())
        }

        #[test]
        fn unknown_texts_count_for_none_and_gaps_get_the_training_mean() -> Result<()> {
            let mean = Options { missing: Missing::Mean, ..Default::default() };
            let (_, test, reading) = joined(TRAIN, "a,port,kind\n,S,x\n4,Q,y\n", &mean)?;
            assert_eq!(test.features, [3.0, 0.0, 1.0, 4.0, 0.0, 0.0]);
            assert_eq!(reading.filled, 1);
            assert_eq!(reading.warnings, ["1 cell has a text that no training row has, and counts for none"]);
            Ok(())
        }
    }

    mod content {
        use super::*;

        #[test]
        fn zeros_after_a_gzip_are_no_damage() -> Result<()> {
            let expected = parse("1,0\n2,1\n")?;
            for zeros in [1, 7, 512, 200_000] {
                let padded = [gzip(b"1,0\n")?, vec![0; zeros], gzip(b"2,1\n")?, vec![0; zeros]].concat();
                assert_eq!(parse(padded)?, expected, "{zeros}");
            }
            Ok(())
        }

        #[test]
        fn a_file_that_is_no_table_is_an_error() -> Result<()> {
            let cases: [(&[u8], &str); 6] = [
                (b"1,0\n2,\0\n", "binary data"),
                (&[0; 100], "binary data"),
                (b"PK\x03\x04abc", "a ZIP archive or a spreadsheet"),
                (b"\xff\xfe1\0,\0", "UTF-16, which can be saved as UTF-8"),
                (b"PAR1abc", "a Parquet file"),
                (b"\0\0\x08\x03\0\0\0\x01", "an IDX file, which is read with its folder"),
            ];
            for (content, what) in cases {
                assert_eq!(refusal(content)?, format!(": {what}, where the text of a table is expected"));
            }
            Ok(())
        }

        /// Reading an endless stream stops after the allowed bytes.
        #[test]
        fn no_more_is_held_than_is_allowed() {
            struct Endless(usize);
            impl std::io::Read for Endless {
                fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                    self.0 += into.len();
                    assert!(self.0 < 2_000_000, "it goes on reading");
                    into.iter_mut().zip(b"1,2,0\n".iter().cycle()).for_each(|(to, from)| *to = *from);
                    Ok(into.len() - into.len() % 6)
                }
            }
            let options = Options { max_memory: 1_000_000, ..Default::default() };
            let error = options.read_from("rows.csv", Endless(0)).unwrap_err().to_string();
            assert_eq!(error, "rows.csv: the content is larger than 1000000 bytes, which is `max_memory`");
            let zeros = options.read_from("rows.csv", std::io::repeat(0)).unwrap_err().to_string();
            assert!(zeros.starts_with("rows.csv: binary data"), "{zeros}");
        }

        #[test]
        fn text_and_features_together_stay_within_what_is_allowed() -> Result<()> {
            let content = labelled(&["0", "1", "0", "1"]);
            let needed = content.len() as u64 + 4 * 2 * 4;
            let with = |max_memory| Options { max_memory, ..Default::default() };
            assert!(table(&content, &with(needed)).is_ok());
            let expected =
                format!(": text and features take {needed} bytes of memory, {} are allowed (`max_memory`)", needed - 1);
            assert_eq!(refusal_with(&content, &with(needed - 1)), expected);
            Ok(())
        }

        /// A cell of a hundred kilobytes, and characters that control a terminal.
        #[test]
        fn cells_are_quoted_escaped_and_cut() -> Result<()> {
            let cell = "\u{1b}[2J".to_string() + &"x".repeat(100_000);
            let found = refusal(format!("a,b\n1,0\n2,1\n{cell},0\n"))?;
            let shown = format!("'\\u{{1b}}[2J{}…'", "x".repeat(36));
            assert_eq!(found, format!(", line 4, column 1: {shown} stands in a column of numbers and is none"));
            for found in [refusal(format!("a,b\n1,0\n2,{cell}\n3,0\n"))?, refusal_with("a,b\n1,0\n2,1\n", &target(&cell))] {
                assert!(found.contains(&shown) && found.len() < 200 && !found.contains('\u{1b}'), "{found}");
            }
            Ok(())
        }
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
        // A header that promises 4 GiB is checked before memory is allocated.
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
        assert_eq!(found, ": test images of 3 × 3 pixels, training images of 2 × 2");
        Ok(())
    }

    #[test]
    fn a_test_label_outside_the_training_classes_is_refused() -> Result<()> {
        let found = set_with("t10k-labels-idx1-ubyte", idx_file(&[2], &[0, 9]))?;
        assert_eq!(found, ": test label 9 is none of the training labels 0, 1, 2");
        Ok(())
    }

    /// Files with only some of the digits, or with letters that count from 1: the classes are the labels that occur.
    #[test]
    fn labels_are_values() -> Result<()> {
        let folder = Folder::new()?;
        write_set(&folder, "-", "")?;
        folder.write("train-labels-idx1-ubyte", idx_file(&[3], &[255, 3, 255]))?;
        folder.write("t10k-labels-idx1-ubyte", idx_file(&[2], &[3, 255]))?;
        let (train, test) = idx::read_directory(folder.path())?;
        assert_eq!((train.labels, train.classes, test.labels, test.classes), (vec![1, 0, 1], 2, vec![0, 1], 2));
        assert_eq!(train.class_names, ["3", "255"]);
        assert_eq!(test.class_names, train.class_names);
        let found = set_with("train-labels-idx1-ubyte", idx_file(&[3], &[4, 4, 4]))?;
        assert_eq!(found, ": all training labels are 4, so nothing is to be told apart");
        Ok(())
    }

    /// A header may promise more than fits into memory, and a file may have more bytes than its header promises.
    #[test]
    fn no_more_is_read_than_header_and_memory_allow() -> Result<()> {
        let folder = Folder::new()?;
        write_set(&folder, "-", "")?;
        let large = gzip(&idx_file(&[3, 1 << 10, 1 << 10], &vec![0; 3 << 20]))?;
        folder.write("train-images-idx3-ubyte.gz", &large)?;
        fs::remove_file(folder.path().join("train-images-idx3-ubyte"))?;
        let error = idx::read_directory_within(folder.path(), 1 << 20).unwrap_err().to_string();
        let expected = format!("its values take {} bytes of memory, {} are allowed (`max_memory`)", 15 << 20, 1 << 20);
        assert!(error.ends_with(&expected), "{error}");
        assert!(idx::read_directory_within(folder.path(), 15 << 20).is_err_and(|error| !error.to_string().contains("memory")));
        let long = [idx_file(&[2], &[1, 2]), vec![0; 40 << 20]].concat();
        assert_eq!(labels(gzip(&long)?)?, format!(": more than {} bytes found, 10 expected", 11 + (1 << 20)));
        Ok(())
    }

    #[test]
    fn the_kind_of_a_path_chooses_the_reader() -> Result<()> {
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
