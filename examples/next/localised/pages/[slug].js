import Link from 'next/link';
import { play } from '../../lib/script';

// Visited as /docs/<slug> and /docs/de/<slug>; its data is at /docs/_next/data/<build>/<locale>/<slug>.json.
export async function getServerSideProps({ params, locale }) {
  const { edition, rendered } = await play(`/${locale}/${params.slug}`);
  return { props: { slug: params.slug, locale, edition, rendered } };
}

export default function Page({ slug, locale, edition, rendered }) {
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      <p>
        <span id="locale">{locale}</span>: edition <b id="edition">{edition}</b>, rendered at{' '}
        <time id="rendered">{rendered}</time>
      </p>
      <Link id="other" href={`/${slug}`} locale={locale === 'en' ? 'de' : 'en'}>the other language</Link>
    </main>
  );
}
