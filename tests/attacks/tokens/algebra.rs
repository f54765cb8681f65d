//! What forging signatures takes: the groups' orders, a second spelling of a signature, points of small order.

/// The order of P-256's group, big-endian (SEC 2, section 2.4.2).
pub(super) const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of Ed25519's group, little-endian (RFC 8032, section 5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The other signature that the same numbers make: (r, n - s).
pub(super) fn mirrored(signature: &[u8]) -> Vec<u8> {
    let mut mirrored = signature.to_vec();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(P256_ORDER[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        mirrored[32 + at] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    assert_eq!(borrow, 0, "s is below n");
    mirrored
}

/// A scalar and the group's order: the same scalar to whoever does not look (RFC 8032, section 5.1.7).
pub(super) fn plus_ed25519_order(scalar: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum = Vec::with_capacity(32);
    for (byte, order) in scalar.iter().zip(ED25519_ORDER) {
        let total = u16::from(*byte) + u16::from(order) + carry;
        sum.push((total & 0xff) as u8);
        carry = total >> 8;
    }
    assert_eq!(carry, 0, "both are below 2^253");
    sum
}

/// A P-256 signature as a sequence of two integers (X.690), as other protocols want it.
pub(super) fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes.first().is_none_or(|first| *first >= 0x80) {
            bytes.insert(0, 0);
        }
        [vec![2, u8::try_from(bytes.len()).expect("33 bytes at most")], bytes].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [vec![0x30, u8::try_from(body.len()).expect("70 bytes at most")], body].concat()
}

/// Points whose multiples are few, the neutral one first, canonical and not.
pub(super) fn small_order_points() -> [[u8; 32]; 6] {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signed = neutral;
    signed[31] = 0x80;
    // p - 1, p and p + 1, little-endian: the last two are 0 and 1 to whoever does not look.
    let prime = |lowest: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = lowest;
        bytes[31] = 0x7f;
        bytes
    };
    [neutral, signed, [0; 32], prime(0xec), prime(0xed), prime(0xee)]
}
