//! Drawing a rollup as SVG or PNG.
