//! The GPU's kernels of a convolution.

use super::{ConvPart, ConvSizes};
use crate::plan::Dispatch;

/// Channels that a thread sums side by side; a single one has a kernel of its own.
const ROWS: usize = 8;
/// Places of a workgroup: 64 threads, each with four of them.
const PLACES: usize = 256;

pub(super) fn dispatches(part: ConvPart, sizes: &ConvSizes) -> Vec<Dispatch> {
    match part {
        ConvPart::Weight => weight(sizes),
        _ => vec![image(part == ConvPart::Input, sizes)],
    }
}

/// Lines and columns as two counts.
fn pair(dispatch: Dispatch, name: &str, [lines, columns]: [usize; 2]) -> Dispatch {
    dispatch.size(format!("{name}_h"), lines).size(format!("{name}_w"), columns)
}

fn geometry(dispatch: Dispatch, sizes: &ConvSizes) -> Dispatch {
    let dispatch = pair(pair(dispatch, "kernel", sizes.kernel), "stride", sizes.stride);
    pair(pair(dispatch, "padding", sizes.padding), "dilation", sizes.dilation)
}

/// Channels that a thread sums, out of this many of a group.
fn rows(channels: usize) -> usize {
    if channels == 1 { 1 } else { ROWS }
}

/// y from x, or transposed x from y.
fn image(transposed: bool, sizes: &ConvSizes) -> Dispatch {
    let ([inputs, outputs], [of_x, of_y], taps) = (sizes.channels(), sizes.areas(), sizes.taps());
    // Channels and sizes of what is written and of what is read, and how far apart weights are along either.
    let ((written, to, area), (depth, from, from_area), (row, step)) = if transposed {
        ((inputs, sizes.image, of_x), (outputs, sizes.out, of_y), (taps, inputs * taps))
    } else {
        ((outputs, sizes.out, of_y), (inputs, sizes.image, of_x), (inputs * taps, taps))
    };
    let (blocks, len) = (written.div_ceil(rows(written)), sizes.batch * area);
    let tiles = blocks * sizes.groups * len.div_ceil(PLACES);
    let dispatch = Dispatch::new("conv", include_str!("../../../shaders/op/conv.wgsl"));
    let dispatch = dispatch.constant("TRANSPOSED", f64::from(u8::from(transposed)));
    let dispatch = dispatch.constant("SEVERAL", f64::from(u8::from(written > 1)));
    let dispatch = dispatch.size("tiles", tiles).size("blocks", blocks).size("groups", sizes.groups).size("len", len);
    let dispatch = pair(dispatch.size("written", written).size("depth", depth), "to", to).size("area", area);
    let dispatch = pair(dispatch, "from", from).size("from_area", from_area);
    let dispatch = dispatch.size("weights", inputs * outputs * taps).size("row", row).size("step", step);
    geometry(dispatch, sizes).elements(tiles * 64, 64).trips(taps * depth + taps + sizes.kernel[0])
}

/// w from x and y: sums of slices, then sums of these; as many slices at a time as there is scratch memory for.
fn weight(sizes: &ConvSizes) -> Vec<Dispatch> {
    let (slices, together) = (sizes.slices(), sizes.slices_together());
    if slices.count <= 1 {
        return vec![of_slices(sizes, 0, 1)];
    }
    let len = sizes.lens()[1];
    let rounds = (0..slices.count).step_by(together).map(|first| (first, together.min(slices.count - first)));
    let rounds = rounds.flat_map(|(first, count)| {
        // The first ones replace what w was.
        let text = [if first == 0 { WRITTEN } else { ADDED }, include_str!("../../../shaders/op/conv_join.wgsl")].concat();
        let join = Dispatch::new("conv_join", text).size("len", len).size("slices", count);
        [of_slices(sizes, first, count), join.elements(len, 64).trips(count)]
    });
    rounds.collect()
}

/// What sums of slices are added to.
const WRITTEN: &str = "fn before(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const ADDED: &str = "fn before(lane: u32, i: u32) -> f32 { return w(lane, i); }\n";

/// Sums of so many slices.
fn of_slices(sizes: &ConvSizes, first: usize, count: usize) -> Dispatch {
    let ([inputs, outputs], [of_x, of_y], slices) = (sizes.channels(), sizes.areas(), sizes.slices());
    let (columns, len) = (inputs * sizes.taps(), sizes.lens()[1]);
    let (blocks, across) = (outputs.div_ceil(rows(outputs)), columns.div_ceil(64));
    let tiles = blocks * across * sizes.groups * count;
    let target = if slices.count > 1 { "scratch" } else { "w" };
    let put = format!("fn put_sum(lane: u32, i: u32, value: f32) {{ put_{target}(lane, i, value); }}\n");
    let dispatch = Dispatch::new("conv_weight", [&put, include_str!("../../../shaders/op/conv_weight.wgsl")].concat());
    let dispatch = dispatch.constant("SEVERAL", f64::from(u8::from(outputs > 1)));
    let dispatch = dispatch.size("tiles", tiles).size("blocks", blocks).size("across", across).size("groups", sizes.groups);
    let dispatch = dispatch.size("batch", sizes.batch).size("images", slices.images).size("len", len).size("first", first);
    let dispatch = pair(pair(dispatch, "part", slices.part), "parts", slices.parts);
    let dispatch = dispatch.size("inputs", inputs).size("outputs", outputs).size("columns", columns);
    let dispatch = pair(pair(dispatch, "image", sizes.image), "out", sizes.out).size("of_x", of_x).size("of_y", of_y);
    let [lines, places] = slices.part;
    let trips = slices.images * (lines * (places + 1) + 1);
    geometry(dispatch, sizes).elements(tiles * 64, 64).trips(trips)
}
