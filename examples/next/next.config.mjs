/** @type {import('next').NextConfig} */
export default {
  // The cache in front compresses, or the visitor gets what the app sent.
  compress: false,
  poweredByHeader: false,
};
