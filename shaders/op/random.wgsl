// Threefry-2x32 with 20 rounds, as in src/random.rs.
fn threefry(key: vec2u, counter: vec2u) -> vec2u {
    let keys = array<u32, 3>(key.x, key.y, key.x ^ key.y ^ 0x1bd11bdau);
    var x = vec2u(counter.x + keys[0], counter.y + keys[1]);
    x = four_rounds(x, vec4u(13u, 15u, 26u, 6u)) + vec2u(keys[1], keys[2] + 1u);
    x = four_rounds(x, vec4u(17u, 29u, 16u, 24u)) + vec2u(keys[2], keys[0] + 2u);
    x = four_rounds(x, vec4u(13u, 15u, 26u, 6u)) + vec2u(keys[0], keys[1] + 3u);
    x = four_rounds(x, vec4u(17u, 29u, 16u, 24u)) + vec2u(keys[1], keys[2] + 4u);
    return four_rounds(x, vec4u(13u, 15u, 26u, 6u)) + vec2u(keys[2], keys[0] + 5u);
}

fn four_rounds(x: vec2u, by: vec4u) -> vec2u {
    return one_round(one_round(one_round(one_round(x, by.x), by.y), by.z), by.w);
}

fn one_round(x: vec2u, by: u32) -> vec2u {
    let a = x.x + x.y;
    return vec2u(a, ((x.y << by) | (x.y >> (32u - by))) ^ a);
}

// A number from 0 to below 1.
fn uniform_number(key: vec2u, site: u32, place: u32) -> f32 {
    return f32(threefry(key, vec2u(place, site)).x >> 8u) * (1.0 / 16777216.0);
}
