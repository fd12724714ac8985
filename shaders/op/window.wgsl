// Windows of planes, as src/op/pool/ has them: sliding ones, or adaptive ones where `size` is 0. `places` exists for largest
// elements.
override MAX: bool = false;
override PADDED: bool = false;

// Along one axis.
struct Axis { image: u32, out: u32, size: u32, stride: u32, padding: u32, dilation: u32 }

fn vertical() -> Axis {
    return Axis(op.image_h, op.out_h, op.size_h, op.stride_h, op.padding_h, op.dilation_h);
}

fn horizontal() -> Axis {
    return Axis(op.image_w, op.out_w, op.size_w, op.stride_w, op.padding_w, op.dilation_w);
}

fn below(a: u32, b: u32) -> u32 {
    return select(0u, b - a, b > a);
}

fn quotient_up(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}

// The elements from the first of a window to behind the last.
fn window(axis: Axis, o: u32) -> vec2u {
    if axis.size == 0u {
        return vec2u(o * axis.image / axis.out, quotient_up((o + 1u) * axis.image, axis.out));
    }
    let skipped = min(quotient_up(below(o * axis.stride, axis.padding), axis.dilation), axis.size);
    let start = below(axis.padding, o * axis.stride + skipped * axis.dilation);
    let end = min(below(axis.padding, o * axis.stride + (axis.size - 1u) * axis.dilation + 1u), axis.image);
    return vec2u(start, max(start, end));
}

// The windows that may have an element: from the first to behind the last.
fn windows(axis: Axis, i: u32) -> vec2u {
    if axis.size == 0u {
        return vec2u(i * axis.out / axis.image, quotient_up((i + 1u) * axis.out, axis.image));
    }
    let reach = (axis.size - 1u) * axis.dilation;
    let first = quotient_up(below(reach, i + axis.padding), axis.stride);
    return vec2u(first, min((i + axis.padding) / axis.stride + 1u, axis.out));
}

// Whether a window has an element, of which it is known that it lies in its range.
fn has(axis: Axis, o: u32, i: u32) -> bool {
    return axis.size == 0u || (i + axis.padding - o * axis.stride) % axis.dilation == 0u;
}

// Places of a window that count for its mean.
fn members(axis: Axis, o: u32) -> u32 {
    if PADDED && axis.size > 0u {
        let end = below(o * axis.stride, axis.image + 2u * axis.padding);
        return max(min(axis.size, quotient_up(end, axis.dilation)), 1u);
    }
    let range = window(axis, o);
    return max(quotient_up(range.y - range.x, axis.dilation), 1u);
}

fn unknown(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
