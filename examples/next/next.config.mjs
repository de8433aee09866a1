/** @type {import('next').NextConfig} */
export default {
  // The cache in front compresses, or the visitor gets what the app sent.
  compress: false,
  poweredByHeader: false,
  // Next.js's own ISR stays in memory: what a former process left on the disk would be shown first, and be out of date.
  experimental: { isrFlushToDisk: false },
  // Tags that the app names itself: the cache takes them from here, and takes the header off.
  async headers() {
    return [
      {
        source: '/:section(blog|own|legacy|account)/:slug',
        headers: [{ key: 'Cache-Tag', value: 'slug-:slug' }],
      },
    ];
  },
};
