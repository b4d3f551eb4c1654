//! Internet addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::state::{Schema, SchemaField, SchemaVariant};

replaced! {
    impl [] Ipv4Addr;
    min_size: 4;
    schema: &Schema::Primitive("ipv4 address");
    encode: |this, encoder| encoder.write_bytes(&this.octets());
    decode: |decoder| Ok(Self::from(decoder.read_array::<4>()?));
}

replaced! {
    impl [] Ipv6Addr;
    min_size: 16;
    schema: &Schema::Primitive("ipv6 address");
    encode: |this, encoder| encoder.write_bytes(&this.octets());
    decode: |decoder| Ok(Self::from(decoder.read_array::<16>()?));
}

replaced! {
    impl [] SocketAddrV4;
    min_size: 6;
    schema: &Schema::Primitive("ipv4 socket address");
    encode: |this, encoder| {
        this.ip().encode(encoder)?;
        this.port().encode(encoder)
    };
    decode: |decoder| Ok(Self::new(Ipv4Addr::decode(decoder)?, u16::decode(decoder)?));
}

// serde leaves out the flow label and the scope; here nothing is lost.
replaced! {
    impl [] SocketAddrV6;
    min_size: 26;
    schema: &Schema::Primitive("ipv6 socket address");
    encode: |this, encoder| {
        this.ip().encode(encoder)?;
        this.port().encode(encoder)?;
        this.flowinfo().encode(encoder)?;
        this.scope_id().encode(encoder)
    };
    decode: |decoder| {
        let (ip, port) = (Ipv6Addr::decode(decoder)?, u16::decode(decoder)?);
        let (flowinfo, scope_id) = (u32::decode(decoder)?, u32::decode(decoder)?);
        Ok(Self::new(ip, port, flowinfo, scope_id))
    };
}

macro_rules! either_version {
    ($type:ident, $v4:ident, $v6:ident) => {
        replaced! {
            impl [] $type;
            min_size: 4;
            schema: &Schema::Enum(&[
                SchemaVariant {
                    name: "V4",
                    fields: &[SchemaField { name: "0", schema: $v4::schema }],
                },
                SchemaVariant {
                    name: "V6",
                    fields: &[SchemaField { name: "0", schema: $v6::schema }],
                },
            ]);
            encode: |this, encoder| match this {
                Self::V4(address) => {
                    0_u32.encode(encoder)?;
                    address.encode(encoder)
                }
                Self::V6(address) => {
                    1_u32.encode(encoder)?;
                    address.encode(encoder)
                }
            };
            decode: |decoder| match u32::decode(decoder)? {
                0 => $v4::decode(decoder).map(Self::V4),
                1 => $v6::decode(decoder).map(Self::V6),
                other => Err(decoder.unknown_variant(other, 2)),
            };
        }
    };
}

either_version!(IpAddr, Ipv4Addr, Ipv6Addr);
either_version!(SocketAddr, SocketAddrV4, SocketAddrV6);
