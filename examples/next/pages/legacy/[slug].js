import Link from 'next/link';
import { Rendered } from '../../app/rendered';
import { play } from '../../lib/script';

// The pages router's ISR: HTML, and the same as JSON at /_next/data/<build>/legacy/<slug>.json.
export async function getStaticPaths() {
  return { paths: ['/legacy/built'], fallback: 'blocking' };
}

export async function getStaticProps({ params, draftMode = false }) {
  const { does, to, ...played } = await play(`/legacy/${params.slug}`);
  const revalidate = 2;
  if (does === 'gone') {
    return { notFound: true, revalidate };
  }
  if (does === 'redirect' || does === 'move') {
    return { redirect: { destination: to, permanent: does === 'move' }, revalidate };
  }
  return { props: { slug: params.slug, draft: draftMode, ...played }, revalidate };
}

export default function Legacy({ slug, draft, edition, rendered }) {
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      {draft && <p id="draft">a draft</p>}
      <Rendered edition={edition} at={rendered} />
      <Link id="home" href="/">Home</Link>
    </main>
  );
}
