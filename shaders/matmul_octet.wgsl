// Eight neighbouring rows of A at one term of the sum: each thread reads them all.
// Plain WGSL, for adapters without subgroups.
struct Octet { low: vec4f, high: vec4f }
struct OctetAt { low: vec4u, high: vec4u }

fn octet_at(product: u32, row: u32, thread: u32) -> OctetAt {
    let base = a_start(product);
    let last = vec4u(p.m - 1u);
    let step = a_step().x;
    let low = base + min(row + vec4u(0u, 1u, 2u, 3u), last) * step;
    let high = base + min(row + vec4u(4u, 5u, 6u, 7u), last) * step;
    return OctetAt(low, high);
}

fn octet(at: OctetAt, ahead: u32) -> Octet {
    let i = at.low + ahead;
    let j = at.high + ahead;
    return Octet(vec4f(a[i.x], a[i.y], a[i.z], a[i.w]), vec4f(a[j.x], a[j.y], a[j.z], a[j.w]));
}
