//! Files of the IDX format.

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
