/** @type {import('next').NextConfig} */
export default {
  compress: false,
  poweredByHeader: false,
  // A base path, and locales (which only the pages router has): both are part of the path that a rule matches.
  basePath: '/docs',
  i18n: { locales: ['en', 'de'], defaultLocale: 'en', localeDetection: false },
};
